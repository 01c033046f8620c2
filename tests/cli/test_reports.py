"""`ringfence report` against the real API, and its verifier against files that were edited."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from proof.keys import fingerprint
from ringfence.cli.output import Exit
from tests.cli.conftest import Cli
from tests.integration.api.reporting import Reporting, make_maker
from tests.postgres import DatabaseUrls


@pytest.fixture
def key() -> Ed25519PrivateKey:
    """The control-plane key of these tests' worker."""
    return Ed25519PrivateKey.generate()


@pytest.fixture
def made(acme: Cli, cli_database: DatabaseUrls, key: Ed25519PrivateKey, tmp_path: Path) -> Path:
    """A folder with R1's four files, downloaded by the command."""
    asked = acme("report", "create", "R1", "--no-wait", "--json", "--as", "omar@acme.test")
    assert asked.code == 0, asked.err
    report_id = json.loads(asked.out)["id"]
    Reporting(cli_database, make_maker(key, tmp_path)).work(report_id)
    folder = tmp_path / "evidence"
    ran = acme("report", "download", report_id, str(folder), "--as", "omar@acme.test")
    assert ran.code == 0, ran.err
    assert sorted(Path(line).suffix for line in ran.out.split()) == [
        ".csv",
        ".json",
        ".json",
        ".pdf",
    ]
    return folder


def file_of(folder: Path, ending: str) -> Path:
    (found,) = [p for p in folder.iterdir() if p.name.endswith(ending) and "manifest" not in p.name]
    return found


@pytest.mark.parametrize("ending", [".json", ".csv", ".pdf"])
def test_each_downloaded_form_is_verified_with_the_manifest_beside_it(
    ending: str, made: Path, key: Ed25519PrivateKey, offline: Cli
) -> None:
    ran = offline("report", "verify", str(file_of(made, ending)), "--pin", fingerprint(key))
    assert ran.code == 0, ran.out + ran.err
    assert "integrity: holds" in ran.out
    assert "completeness: complete with gaps" in ran.out
    assert "freshness: fresh" in ran.out


def test_an_edited_csv_is_named_by_row_and_ends_with_an_error_code(
    made: Path, key: Ed25519PrivateKey, offline: Cli
) -> None:
    file = file_of(made, ".csv")
    lines = file.read_bytes().decode().split("\r\n")
    assert "ana@acme.test" in lines[1]
    lines[1] = lines[1].replace("ana@acme.test", "eve@acme.test", 1)
    file.write_text("\r\n".join(lines), newline="")
    ran = offline("report", "verify", str(file), "--pin", fingerprint(key), "--json")
    assert ran.code == Exit.FAILURE
    verdict = json.loads(ran.out)
    assert verdict["integrity"]["rows"] == [1]
    assert not verdict["holds"]


def test_a_csv_without_its_manifest_is_not_judged(
    made: Path, key: Ed25519PrivateKey, offline: Cli
) -> None:
    for manifest in made.glob("*.manifest.json"):
        manifest.unlink()
    ran = offline("report", "verify", str(file_of(made, ".csv")), "--pin", fingerprint(key))
    assert ran.code == Exit.FAILURE
    assert "give the report's manifest" in ran.err


def test_another_pin_is_refused(made: Path, offline: Cli) -> None:
    other = fingerprint(Ed25519PrivateKey.generate())
    ran = offline("report", "verify", str(file_of(made, ".json")), "--pin", other)
    assert ran.code == Exit.FAILURE
    assert "not signed by the pinned key" in ran.err


def test_a_stale_report_says_so(made: Path, key: Ed25519PrivateKey, offline: Cli) -> None:
    ran = offline(
        *("report", "verify", str(file_of(made, ".json"))),
        *("--pin", fingerprint(key), "--max-age", "0"),
    )
    assert ran.code == Exit.FAILURE
    assert "freshness: STALE" in ran.out


def test_reports_are_listed_and_shown(acme: Cli, made: Path) -> None:
    listed = acme("report", "list", "--as", "omar@acme.test")
    assert "ready" in listed.out
    report_id = json.loads(acme("report", "list", "--json", "--as", "omar@acme.test").out)[0]["id"]
    shown = acme("report", "show", report_id, "--as", "omar@acme.test")
    assert "the whole organization" in shown.out


def test_a_moment_that_is_none_names_its_option(acme: Cli) -> None:
    ran = acme("report", "create", "R1", "--at", "yesterday", "--as", "omar@acme.test")
    assert ran.code == Exit.USAGE
    assert ran.err.startswith("error: --at: 'yesterday' is not a moment")


def test_a_trail_is_handed_over_by_folder(acme: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "trail"
    folder.mkdir()
    at = datetime.now(UTC)
    name = f"111122223333_CloudTrail_eu-central-1_{at:%Y%m%dT%H%M}Z_abcd.json.gz"
    event = {"eventTime": at.strftime("%Y-%m-%dT%H:%M:%SZ"), "eventName": "ListBuckets"}
    (folder / name).write_bytes(gzip.compress(json.dumps({"Records": [event]}).encode()))
    (folder / "notes.txt").write_text("not a trail file")
    ran = acme(
        *("report", "upload-trail", str(folder), "--boundary", "payments"),
        *("--as", "omar@acme.test"),
    )
    assert (ran.code, ran.err) == (0, "handed over 1 files with 1 events\n")
    refused = acme(
        *("report", "upload-trail", str(folder / "notes.txt"), "--boundary", "payments"),
        *("--as", "omar@acme.test"),
    )
    assert refused.code == Exit.USAGE
    assert "is not the name of a CloudTrail file" in refused.err
