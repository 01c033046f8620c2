"""`ringfence install update` shows what would change, and changes nothing itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from controlplane.domains.runs.plan_view import view
from ringfence.cli import updates
from ringfence.cli.output import CommandError, Exit
from ringfence.client import WatchTimeoutError

UPDATE = {
    "from_revision": 1,
    "to_revision": 2,
    "from_version": "0.1.0",
    "to_version": "0.3.0",
    "inputs": [{"name": "node_count", "old": 2, "new": 3}],
    "desired": [{"kind": "ModelInstance", "name": "tiny", "change": "added"}],
    "release": True,
}
IDLE = {**UPDATE, "to_version": "0.1.0", "inputs": [], "desired": [], "release": False}
app = typer.Typer()
app.command()(updates.update)


class Planner:
    """An API whose run gets the plan that a test wants, or none."""

    def __init__(self, update: dict[str, Any] | None, error: str = "") -> None:
        self.update, self.error = update, error
        self.posted: list[Any] = []

    def post(self, path: str, body: Any) -> Any:
        self.posted.append(body)
        return {"install_id": "i", "run_id": "r"}

    def run_events(self, run: str, after: int, timeout: float) -> Iterator[dict[str, Any]]:
        if self.update is None and not self.error:
            raise WatchTimeoutError(f"not within {timeout:.0f} s")
        yield {"kind": "run.state", "state": "planning"}
        yield {"kind": "step.state", "step": "plan", "state": "succeeded"}
        raise AssertionError("nobody listens any more")

    def get(self, path: str) -> Any:
        if path.endswith("/plan"):
            document = {"constraint": {}, "update": self.update}
            return {"digest": "sha256:9", "view": view(document, None).model_dump(mode="json")}
        plan = None if self.error else {"digest": "sha256:9"}
        return {"plan": plan, "error_message": self.error, "steps": [], "parked_reason": None,
                "state": "failed"}  # fmt: skip


def run(monkeypatch: pytest.MonkeyPatch, api: Planner, *words: str) -> Any:
    monkeypatch.setattr(updates, "connect", lambda person: api)
    return CliRunner().invoke(app, ["INSTALL", "--grant", "G", *words])


def test_an_update_is_shown_with_what_it_does_beside_the_cloud(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    api = Planner(UPDATE)
    ran = run(monkeypatch, api, "--set", "node_count=3", "--set", "egress=nat", "--set", "old=")
    assert ran.exit_code == Exit.OK
    assert api.posted[0]["change"] == {"node_count": 3, "egress": "nat", "old": None}
    assert run(monkeypatch, api, "--detailed-exitcode").exit_code == Exit.CHANGES
    updates.print_plan(api.get("/plan")["view"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[:5] == [
        "nothing to change in the account",
        "revision 1 -> 2, blueprint 0.1.0 -> 0.3.0",
        "  input node_count: 2 -> 3",
        "  added ModelInstance tiny",
        "  operator, agent and gateway are upgraded: the way in is opened for it",
    ]


def test_an_update_without_changes_ends_well_in_every_way(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, Planner(IDLE), "--detailed-exitcode").exit_code == Exit.OK


@pytest.mark.parametrize(
    ("api", "code", "said"),
    [
        (Planner(None, "would replace the vpc"), Exit.DEPLOYMENT_FAILED, "would replace the vpc"),
        (Planner(None), Exit.TIMED_OUT, "not within 300 s"),
    ],
    ids=["no plan", "too slow"],
)
def test_a_plan_that_does_not_come_is_an_exit_code_of_its_own(
    monkeypatch: pytest.MonkeyPatch, api: Planner, code: Exit, said: str
) -> None:
    caught = run(monkeypatch, api).exception
    assert isinstance(caught, CommandError)
    assert (caught.code, said in str(caught)) == (code, True)


@pytest.mark.parametrize("words", [("--set", "node_count"), ("--file", "/nowhere.json")])
def test_what_cannot_be_read_is_refused_before_anything_is_asked(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    api = Planner(UPDATE)
    caught = run(monkeypatch, api, *words).exception
    assert isinstance(caught, CommandError)
    assert caught.code == Exit.USAGE
    assert api.posted == []
