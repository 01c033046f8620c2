"""What every command owes its user: data on stdout, errors with a fix on stderr, exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ringfence.cli import reference
from ringfence.cli.output import Exit, code_for, describe
from ringfence.client import ApiError
from sandbox.home import free_port
from tests.cli.conftest import ROOT, Cli, Ran, write_context
from tests.cli.golden import HELP_FILE, leaves, recorded_help
from tests.integration.api.people import PEOPLE, token_of

NOWHERE = "01a203db-99fd-7561-96df-c5d6141bbff9"


def test_the_help_of_every_command_is_as_recorded() -> None:
    assert recorded_help() == HELP_FILE.read_text(), "run: python -m tests.cli.golden"


def test_the_reference_page_is_up_to_date() -> None:
    assert reference.PAGE.read_text() == reference.render()


@pytest.mark.parametrize("words", leaves(), ids=" ".join)
def test_a_command_refuses_an_unknown_option_in_two_lines(
    offline: Cli, words: tuple[str, ...]
) -> None:
    ran = offline(*words, "--xyzzy")
    assert (ran.code, ran.out) == (Exit.USAGE, "")
    path = " ".join(("ringfence", *words))
    assert ran.err == f"error: No such option: --xyzzy\n  fix: see `{path} --help`\n"


def test_a_group_without_its_command_says_where_the_help_is(offline: Cli) -> None:
    ran = offline("organization")
    assert (ran.code, ran.out) == (Exit.USAGE, "")
    assert "ringfence organization --help" in ran.err


def test_json_goes_to_stdout_and_hints_to_stderr(acme: Cli) -> None:
    grant = acme("grant", "request", "payments", "--purpose", "p", "--reason", "r", "--json")
    number = json.loads(grant.out)["id"]
    for words, key in (
        (("organization", "boundaries"), "name"),
        (("grant", "list", "payments"), "state"),
        (("key", "list", "payments"), None),
        (("install", "list"), None),
        (("usage", "payments"), None),
    ):
        first, second = acme(*words, "--json"), acme(*words, "--json")
        assert (first.code, first.err) == (0, "")
        assert first.out == second.out
        document = json.loads(first.out)
        assert first.out == json.dumps(document, indent=2, sort_keys=True) + "\n"
        assert isinstance(document, list)
        assert key is None or document[0][key]
    shown = acme("grant", "show", number)
    assert number in shown.out
    assert "requested" in shown.out
    assert " UTC" in shown.out


def test_an_empty_list_says_the_next_step_and_prints_nothing(acme: Cli) -> None:
    ran = acme("install", "list")
    assert (ran.code, ran.out) == (0, "")
    assert "ringfence install plan" in ran.err


def test_a_table_is_never_cut_on_a_narrow_pipe(acme: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    ids = [b["id"] for b in json.loads(acme("organization", "boundaries", "--json").out)]
    lines = acme("organization", "boundaries").out.splitlines()
    assert [line.split()[-1] for line in lines] == ["ID", *ids]


def test_four_eyes_refuses_the_requester_and_says_what_to_do(acme: Cli) -> None:
    document = (ROOT / "examples/acme/organization.yaml").read_text()
    both = acme.home / "both.yaml"
    both.write_text(
        document.replace("approver: [ana@acme.test]", "approver: [ana@acme.test, sam@acme.test]")
    )
    assert acme("organization", "apply", str(both), "--as", "max@acme.test").code == 0
    asked = acme("grant", "request", "payments", "--purpose", "p", "--reason", "r")
    assert asked.code == 0
    own = acme("grant", "approve", asked.out.strip(), "--reason", "mine")
    assert own.code == Exit.FORBIDDEN
    assert "somebody else must decide" in own.err
    assert "approver" in own.err
    assert "--as" in own.err
    other = acme("grant", "approve", asked.out.strip(), "--reason", "y", "--as", "ana@acme.test")
    assert other.code == 0
    assert "GrantNumber=1" in other.err


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("usage", "nothing"), Exit.USAGE),
        (("chat", "nothing", "hello"), Exit.USAGE),
        (("chat", "payments", "hello"), Exit.BLOCKED),
        (("grant", "show", NOWHERE), Exit.USAGE),
        (("grant", "show", "no-id"), Exit.USAGE),
        (("grant", "show", "../boundaries"), Exit.USAGE),
        (("grant", "show", ".."), Exit.USAGE),
        (("grant", "show", ""), Exit.USAGE),
        (("run", "show", NOWHERE), Exit.USAGE),
        (("run", "watch", NOWHERE), Exit.USAGE),
        (("run", "plan", "no-id"), Exit.USAGE),
        (("run", "approve", NOWHERE, "--digest", "x", "--as", "ana@acme.test"), Exit.USAGE),
        (("install", "show", "no-id"), Exit.USAGE),
        (("install", "plan", "payments", "--grant", NOWHERE), Exit.USAGE),
        (("install", "plan", "payments", "--grant", "x", "--inputs", "/nowhere"), Exit.USAGE),
        (("certificate", "fetch", NOWHERE, "-"), Exit.USAGE),
        (("key", "create", "payments", "--group", "none", "--owner", "x@y"), Exit.FORBIDDEN),
        (("connect", "verify", "payments", "--expect", "open"), Exit.USAGE),
        (("connect", "verify", "payments", "--expect", "ajar"), Exit.USAGE),
        (("organization", "boundaries", "--as", "nobody@acme.test"), Exit.USAGE),
        (("grant", "request", "payments", "--purpose", "p", "--reason", "r", "--as",
          "omar@acme.test"), Exit.FORBIDDEN),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)  # fmt: skip
def test_a_wrong_name_or_person_ends_with_one_error_and_its_exit_code(
    acme: Cli, words: tuple[str, ...], code: Exit
) -> None:
    ran = acme(*words)
    assert (ran.code, ran.out) == (code, "")
    assert ran.err.startswith("error: ")
    assert "Traceback" not in ran.err


def test_a_second_grant_of_a_boundary_is_blocked_by_the_first(acme: Cli) -> None:
    asked = ("grant", "request", "payments", "--purpose", "p", "--reason", "r")
    assert acme(*asked).code == 0
    ran = acme(*asked)
    assert ran.code == Exit.BLOCKED
    assert "fix: use it, deny it or revoke it first" in ran.err


def test_a_revoked_grant_is_over_and_the_template_is_closed_again(acme: Cli) -> None:
    grant = acme("grant", "request", "payments", "--purpose", "p", "--reason", "r").out.strip()
    acme("grant", "approve", grant, "--reason", "y", "--as", "ana@acme.test")
    opened = json.loads(acme("connect", "template", "payments", "--part", "parameters").out)
    assert {"ParameterKey": "GrantNumber", "ParameterValue": "1"} in opened
    ran = acme("grant", "revoke", grant, "--reason", "enough", "--as", "ana@acme.test", "--json")
    assert ran.code == 0
    assert json.loads(ran.out)["state"] in ("revoked", "closing", "closed")
    closed = json.loads(acme("connect", "template", "payments", "--part", "parameters").out)
    assert {"ParameterKey": "GrantNumber", "ParameterValue": "0"} in closed


@pytest.mark.parametrize(
    ("address", "code"),
    [("http://127.0.0.1:{port}", 1), ("nonsense", 1), ("http://[", 1)],
)
def test_an_api_that_does_not_answer_is_named_with_its_address(
    offline: Cli, address: str, code: int
) -> None:
    url = address.format(port=free_port())
    write_context(offline.home, url)
    ran = offline("organization", "boundaries")
    assert (ran.code, ran.out) in ((code, ""), (Exit.USAGE, ""))
    assert url in ran.err
    assert "RINGFENCE_API_URL" in ran.err or "not an API address" in ran.err


def test_without_a_control_plane_the_first_step_is_said(offline: Cli) -> None:
    ran = offline("organization", "boundaries")
    assert ran.code == Exit.USAGE
    assert "ringfence up" in ran.err


@pytest.mark.parametrize("content", ["", "[]", "{}", "not json", '{"people": []}'])
def test_a_broken_context_file_is_named(offline: Cli, content: str) -> None:
    offline.home.mkdir()
    (offline.home / "context.json").write_text(content)
    ran = offline("organization", "boundaries")
    assert ran.code == Exit.USAGE
    assert "error: " in ran.err


def test_an_unknown_token_is_not_shown_and_ends_forbidden(
    cli: Cli, api_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    monkeypatch.setenv("RINGFENCE_API_URL", api_url)
    monkeypatch.setenv("RINGFENCE_TOKEN_FILE", str(file))
    file.write_text("rfp_unknown-token-canary")
    ran = cli("organization", "boundaries")
    assert ran.code == Exit.FORBIDDEN
    assert "canary" not in ran.err
    file.write_text("two lines\nof canary text")
    ran = cli("organization", "boundaries")
    assert ran.code == Exit.USAGE
    assert str(file) in ran.err
    assert "canary" not in ran.err


def test_no_token_is_in_any_output_or_argument(acme: Cli) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "ringfence.cli.main", "organization", "boundaries", "--json"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "RINGFENCE_HOME": str(acme.home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    arguments = Path(f"/proc/{process.pid}/cmdline").read_bytes()
    environment = Path(f"/proc/{process.pid}/environ").read_bytes()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    everything = arguments + environment + out + err
    for words in (("organization", "boundaries"), ("usage", "nothing"), ("run", "show", NOWHERE)):
        ran = acme(*words)
        everything += (ran.out + ran.err).encode()
    for person in PEOPLE:
        assert token_of(person).encode() not in everything


def test_the_reader_of_a_pipe_may_leave_early(acme: Cli) -> None:
    ran = subprocess.run(
        f"{sys.executable} -m ringfence.cli.main connect template payments | head -1",
        shell=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "RINGFENCE_HOME": str(acme.home)},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert ran.stdout == b"{\n"
    assert ran.stderr == b""


def test_a_key_file_is_written_for_its_owner_only_and_never_overwritten(
    acme: Cli, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    words: tuple[str, ...] = ("key", "create", "payments", "--group", "payments-engineers")
    words += ("--owner", "pia@acme.test", "--file", str(file), "--as", "pia@acme.test")
    ran = acme(*words)
    assert (ran.code, ran.out) == (0, "")
    assert file.stat().st_mode & 0o777 == 0o600
    key = file.read_text().strip()
    assert key
    assert key not in ran.err
    again = acme(*words)
    assert again.code == Exit.USAGE
    assert "File exists" in again.err
    assert file.read_text().strip() == key
    assert len(json.loads(acme("key", "list", "payments", "--json").out)) == 1


@pytest.mark.parametrize(
    ("status", "code"),
    [
        *((0, 1), (400, 2), (401, 3), (403, 3), (404, 2), (409, 6), (410, 6)),
        *((413, 2), (422, 2), (429, 1), (500, 1), (502, 1), (503, 1)),
    ],
)
def test_an_api_status_has_one_exit_code(status: int, code: int) -> None:
    assert code_for(ApiError(status, "x", "y", {})) == code


def test_a_server_error_is_shown_with_its_request() -> None:
    error = ApiError(500, "internal", "our fault", {"request_id": "0192-abc"})
    assert describe(error)[0] == "our fault (request 0192-abc)"


def test_a_token_is_made_into_a_file_listed_and_revoked(acme: Cli) -> None:
    file = acme.home / "token"
    scope = ("--organization", "acme", "--boundary", "payments", "--role", "solution-architect")
    made = acme("token", "create", "--name", "ci", *scope, "--file", str(file))
    assert (made.code, made.out) == (0, "")
    secret = file.read_text().strip()
    assert secret.startswith("rfp_")
    assert file.stat().st_mode & 0o777 == 0o600
    again = acme("token", "create", "--name", "ci", "--file", str(file))
    assert again.code == Exit.USAGE
    (row,) = [t for t in json.loads(acme("token", "list", "--json").out) if t["name"] == "ci"]
    assert "acme/payments: solution-architect" in acme("token", "list").out
    assert secret not in acme("token", "list").out
    assert acme("token", "revoke", row["id"]).code == 0
    (row,) = [t for t in json.loads(acme("token", "list", "--json").out) if t["name"] == "ci"]
    assert row["state"] == "revoked"


def test_a_service_is_made_gets_a_token_and_is_disabled(acme: Cli) -> None:
    admin = ("--as", "max@acme.test")
    made = acme("service", "create", "acme", "--name", "robot", "--purpose", "nightly",
                "--role", "auditor", *admin)  # fmt: skip
    assert made.code == 0, made.err
    robot = made.out.strip()
    token = acme("service", "token", "acme", robot, *admin)
    assert token.out.startswith("rfs_")
    assert "robot" in acme("service", "list", "acme", *admin).out
    assert acme("service", "disable", "acme", robot, *admin).code == 0
    (row,) = json.loads(acme("service", "list", "acme", "--json", *admin).out)
    assert row["disabled_at"]
    again = acme("service", "token", "acme", robot, *admin)
    assert (again.code, again.out) == (Exit.BLOCKED, "")
    refused = acme("service", "create", "acme", "--name", "x", "--purpose", "y", "--role",
                   "approver", *admin)  # fmt: skip
    assert refused.code == Exit.USAGE
    assert "only people decide" in refused.err


def test_a_waiver_is_asked_for_approved_by_two_and_revoked_by_one(acme: Cli) -> None:
    guest = ("--subject", "gus@vendor.test", "--issuer", "https://idp.vendor.example")
    asked = acme("waiver", "request", "acme", *guest, "--reason", "reviews it", "--ticket", "S-1")
    assert asked.code == 0, asked.err
    waiver = asked.out.strip()

    def decide(verb: str, who: str, *more: str) -> Ran:
        words = ("waiver", verb, "acme", waiver, "--reason", "it is agreed", "--as", who, *more)
        return acme(*words)

    own = acme("waiver", "approve", "acme", waiver, "--reason", "r", "--as", "sam@acme.test")
    assert (own.code, own.out) == (Exit.FORBIDDEN, "")
    first = decide("approve", "ana@acme.test")
    assert (first.code, first.out) == (0, "")
    assert "gus@vendor.test of https://idp.vendor.example may act in the whole" in first.err
    assert "approved, 1 of 2; it is requested" in first.err
    again = decide("approve", "ana@acme.test")
    assert again.code == Exit.FORBIDDEN
    assert "a second person must too" in again.err
    wrong = decide("approve", "max@acme.test", "--digest", "sha256:" + "0" * 64)
    assert wrong.code == Exit.BLOCKED
    assert "approved, 2 of 2; it is active" in decide("approve", "max@acme.test").err
    auditor = ("waiver", "list", "acme", "--as", "omar@acme.test")
    listed = acme(*auditor).out
    assert "active" in listed
    assert "ana@acme.test, max@acme.test" in listed
    assert "revoked" in decide("revoke", "ana@acme.test").err
    assert [w["state"] for w in json.loads(acme(*auditor, "--json").out)] == ["revoked"]
    gone = acme("waiver", "approve", "acme", NOWHERE, "--reason", "r", "--as", "ana@acme.test")
    assert gone.code == Exit.USAGE


def test_usage_sums_up_and_names_each_figure(acme: Cli) -> None:
    ran = acme("usage", "summary", "payments", "--formulas")
    assert ran.code == 0
    for words in ("Acceptance rate (changes)", "Acceptance rate (lines)", "Active users"):
        assert words in ran.out
    assert "export unknown" in ran.err
    document = json.loads(acme("usage", "summary", "payments", "--json").out)
    assert {"as_of", "is_final", "export", "synthetic", "metrics", "rows"} <= document.keys()
    head = acme("usage", "export", "payments").out.splitlines()
    assert head[0].startswith("kind,starts_at,synthetic,group_id")


@pytest.mark.parametrize(
    ("words", "code", "hint"),
    [
        (("--boundary", "payments"), Exit.BLOCKED, "install a blueprint"),
        (("--boundary", "payments", "--speed", "fast"), Exit.USAGE, "--speed"),
        (("--boundary", "nothing"), Exit.USAGE, "nothing"),
    ],
)
def test_a_replay_that_cannot_be_says_why(
    words: tuple[str, ...], code: Exit, hint: str, acme: Cli
) -> None:
    ran = acme("usage", "replay", *words)
    assert (ran.code, ran.out) == (code, "")
    assert hint in ran.err
