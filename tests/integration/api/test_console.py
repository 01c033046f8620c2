"""The console's files: one strict policy, caching by name, and never in the API's way."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from controlplane import console
from controlplane.app import make_routes

SCRIPT = "assets/index-abc123.js"


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A folder as the console's build leaves it, beside a file that is nobody's business."""
    folder = tmp_path / "static"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<h1>console</h1>")
    (folder / SCRIPT).write_text("console.log(1)")
    (folder / f"{SCRIPT}.gz").write_bytes(gzip.compress(b"console.log(1)"))
    (tmp_path / "secret.txt").write_text("secret")
    return folder


@pytest.fixture
def client(built: Path) -> TestClient:
    """The console alone."""
    app = Starlette()
    console.install(app, built)
    return TestClient(app)


def test_a_path_of_the_console_answers_with_the_page_under_a_strict_policy(
    client: TestClient,
) -> None:
    for path in ("/", "/boundaries/payments", "/sign-in"):
        answer = client.get(path)
        assert (answer.status_code, answer.text) == (200, "<h1>console</h1>")
        assert answer.headers["cache-control"] == "no-cache"
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"


def test_a_file_with_a_digest_in_its_name_is_kept_for_ever_and_sent_packed(
    client: TestClient,
) -> None:
    answer = client.get(f"/{SCRIPT}")
    assert answer.text == "console.log(1)"
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["content-type"].startswith("text/javascript")
    plain = client.get(f"/{SCRIPT}", headers={"accept-encoding": "identity"})
    assert (plain.text, plain.headers.get("content-encoding")) == ("console.log(1)", None)


def test_a_missing_file_is_no_page(client: TestClient) -> None:
    answer = client.get("/assets/index-gone.js")
    assert answer.status_code == 404
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "path", ["/../secret.txt", "/%2e%2e/secret.txt", "/assets/..%2f..%2fsecret.txt", "/%00"]
)
def test_nothing_outside_the_folder_is_sent(path: str, client: TestClient) -> None:
    assert "secret" not in client.get(path).text


@pytest.mark.parametrize(
    "path", ["/v1", "/v1/nothing", "/V1/nothing", "/agent/v1/x", "/scim", "/usage/x"]
)
def test_an_unknown_path_of_the_api_stays_an_error_for_programs(path: str) -> None:
    answer = TestClient(make_routes()).get(path)
    assert answer.status_code in (401, 404)
    assert answer.headers["content-type"] in ("application/json", "application/scim+json")


def test_the_console_takes_no_change(client: TestClient) -> None:
    assert client.post("/").status_code in (404, 405)


def test_without_a_build_the_page_names_the_command(tmp_path: Path) -> None:
    app = Starlette()
    console.install(app, tmp_path / "nothing")
    answer = TestClient(app).get("/")
    assert answer.status_code == 503
    assert "make web" in answer.text
    assert "script-src 'self'" in answer.headers["content-security-policy"]
