"""`ringfence login` and `logout` against the real API and the sandbox's strict provider."""

from __future__ import annotations

import json
import stat
import sys
import threading
import webbrowser
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from ringfence.cli.main import main
from ringfence.client.sign_in import Provider, SignInError, by_browser, by_device
from tests.integration.sign_in.live import Live, Visitor

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str


Command = Callable[..., Ran]


@pytest.fixture
def ringfence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Run `ringfence` in this process, with an empty home."""
    monkeypatch.setenv("RINGFENCE_HOME", str(tmp_path))

    def run(*arguments: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["ringfence", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return Ran(int(ended.value.code or 0), out, err)

    return run


class Aside:
    """Does with the shown address what a person does in a browser, while the command waits."""

    def __init__(self, act: Callable[[str], None]) -> None:
        self._act = act
        self._pool = ThreadPoolExecutor(1)
        self._acts: list[Future[None]] = []

    def __enter__(self) -> Callable[[str], None]:
        return lambda url: self._acts.append(self._pool.submit(self._act, url))

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()
        for act in self._acts:
            act.result()


def provider(live: Live) -> Provider:
    """Return what the API says of the provider."""
    answer = httpx2.get(f"{live.api_url}/v1/sign-in/providers/acme", trust_env=False)
    assert answer.status_code == 200, answer.text
    return Provider.of(answer.json())


def follow(visitor: Visitor, live: Live, url: str, subject: str = "ana@acme.test") -> None:
    """Sign in and say yes to the command line, as a person does in the browser."""
    visitor.open(url)
    visitor.submit(subject=subject, password=live.password)
    assert "Let this program sign in?" in visitor.text, visitor.text
    visitor.submit()


def test_a_person_logs_in_by_browser_and_out_again(
    ringfence: Command,
    live: Live,
    visitor: Visitor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[threading.Thread] = []

    def open_browser(url: str) -> bool:
        started.append(threading.Thread(target=follow, args=(visitor, live, url)))
        started[0].start()
        return True

    monkeypatch.setattr(webbrowser, "open", open_browser)
    done = ringfence("login", "--api", live.api_url, "--organization", "acme", "--json")
    started[0].join()
    assert done.code == 0, done.err
    assert json.loads(done.out)["person"] == "ana@acme.test"
    assert "Signed in: go back" in visitor.text
    context = tmp_path / "context.json"
    assert stat.S_IMODE(context.stat().st_mode) == 0o600
    token = json.loads(context.read_text())["people"]["ana@acme.test"]["token"]
    assert token not in done.out + done.err
    headers = {"Authorization": f"Bearer {token}"}
    me = httpx2.get(f"{live.api_url}/v1/me", headers=headers, trust_env=False)
    assert me.json()["subject"] == "ana@acme.test"
    gone = ringfence("logout")
    assert gone.code == 0, gone.err
    assert token not in context.read_text()
    me = httpx2.get(f"{live.api_url}/v1/me", headers=headers, trust_env=False)
    assert me.status_code == 401
    assert ringfence("logout", "--as", "ana@acme.test").code == 2


def test_a_person_signs_in_with_a_code_on_another_device(live: Live, visitor: Visitor) -> None:
    shown: list[tuple[str, str]] = []
    ready = threading.Event()

    def show(url: str, code: str) -> None:
        shown.append((url, code))
        ready.set()

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(by_device, provider(live), show)
        assert ready.wait(20)
        (url, code) = shown[0]
        visitor.open(url.partition("?")[0])
        visitor.submit(user_code=code)
        assert code in visitor.text
        visitor.submit()
        visitor.submit(subject="ana@acme.test", password=live.password)
        visitor.submit()
        assert "Go back to the command line" in visitor.text, visitor.text
        token = waiting.result(timeout=30)
    answer = httpx2.post(
        f"{live.api_url}/v1/sign-in/exchange",
        json={"organization": "acme", "id_token": token},
        trust_env=False,
    )
    assert answer.json()["subject"] == "ana@acme.test"


def test_a_page_that_does_not_know_the_state_is_not_believed(live: Live, visitor: Visitor) -> None:
    statuses: list[int] = []

    def attack_then_follow(url: str) -> None:
        back = parse_qs(urlsplit(url).query)["redirect_uri"][0]
        forged = httpx2.get(f"{back}?code=x&state=guessed", trust_env=False)
        statuses.append(forged.status_code)
        follow(visitor, live, url)

    with Aside(attack_then_follow) as show:
        token = by_browser(provider(live), show)
    assert statuses == [404]
    assert token.count(".") == 2


def test_a_person_who_says_no_to_the_command_line_gives_it_nothing(
    live: Live, visitor: Visitor
) -> None:
    def say_no(url: str) -> None:
        visitor.open(url)
        visitor.submit(subject="ana@acme.test", password=live.password)
        visitor.submit(abort="yes")

    with Aside(say_no) as show, pytest.raises(SignInError, match="access_denied"):
        by_browser(provider(live), show)


def test_waiting_for_the_browser_ends(live: Live) -> None:
    with pytest.raises(SignInError, match="nobody came back"):
        by_browser(provider(live), lambda url: None, seconds=0.05)


def test_a_login_does_not_mix_two_control_planes(
    ringfence: Command, live: Live, tmp_path: Path
) -> None:
    (tmp_path / "context.json").write_text(json.dumps({"api_url": "https://other.example"}))
    done = ringfence("login", "--api", live.api_url, "--organization", "acme", "--no-open")
    assert done.code == 2
    assert "is of the control plane at https://other.example" in done.err


def test_login_says_what_is_missing(ringfence: Command, live: Live) -> None:
    nothing = ringfence("login")
    assert (nothing.code, "--api" in nothing.err) == (2, True)
    unnamed = ringfence("login", "--api", live.api_url)
    assert (unnamed.code, "--organization" in unnamed.err) == (2, True)
    unknown = ringfence("login", "--api", live.api_url, "--organization", "nobody")
    assert unknown.code == 2
    assert "no sign-in is set up" in unknown.err
