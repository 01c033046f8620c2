"""The run routes over HTTP: steps, plan, four eyes, cancel and retry, and the stream's resume."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from pydantic import BaseModel
from starlette.testclient import TestClient

from controlplane.core import clock
from controlplane.core.db import Database
from controlplane.core.errors import UnavailableError
from controlplane.core.run_engine.definition import (
    Definition,
    Done,
    Park,
    Step,
    StepContext,
    StepResult,
)
from controlplane.core.run_engine.executor import EngineSettings, RunExecutor
from tests.integration.api.conftest import PersonOf
from tests.integration.api.people import token_of
from tests.postgres import DatabaseUrls
from tests.sagas.bench import claim_soon, wait_until

DIGEST = "sha256:" + "d" * 64


class NoParams(BaseModel):
    pass


@dataclass
class Faults:
    """What the test saga is told to do."""

    base_fails: int = 0
    hold: threading.Event | None = None


def ask_for_approval(context: StepContext[NoParams, Faults]) -> StepResult:
    if context.run.approved_digest == DIGEST:
        return Done()
    context.journal.save_plan({"counts": {"foundation": {"create": 20}}, "constraint": {}}, DIGEST)
    return Park("awaiting-approval", "the plan needs a second person")


def base(context: StepContext[NoParams, Faults]) -> StepResult:
    for share in (25, 50, 75):
        context.progress(percent=share)
    hold = context.ports.hold
    while hold is not None and not hold.is_set():
        context.wait(0.05)
    if context.ports.base_fails:
        context.ports.base_fails -= 1
        raise UnavailableError("throttled")
    return Done()


def nothing(context: StepContext[NoParams, Faults]) -> None:
    context.log(message="nothing to undo")


SAGA = Definition(
    "install.provision",
    NoParams,
    (
        Step("approval", "Approval", ask_for_approval, None, planning=True),
        Step("base", "Base", base, nothing, ("approval",), estimate=5, max_attempts=1),
        Step("seal", "Seal", base, None, ("base",), "close", estimate=2, max_attempts=1),
    ),
)


@pytest.fixture
def worker(database: DatabaseUrls) -> Iterator[Database]:
    """The database as the worker's role sees it."""
    opened = Database.connect(database.worker)
    yield opened
    opened.close()


@pytest.fixture
def run_id(acme: PersonOf, active: dict[str, Any]) -> str:
    """A run that Sam asked for."""
    answer = acme("sam").post("/v1/installs", {"boundary": "payments", "grant_id": active["id"]})
    return str(answer.json()["run_id"])


def execute(worker: Database, faults: Faults | None = None) -> None:
    """Carry the one claimable run as far as it goes."""
    settings = EngineSettings(lease_seconds=5, retry_base_seconds=0.01)
    claim = claim_soon(worker, settings.lease_seconds)
    claimed_at = clock.elapsed()
    never = threading.Event()
    RunExecutor(worker, SAGA, claim, faults or Faults(), settings, never, claimed_at).run()


def events(text: str) -> list[dict[str, Any]]:
    """Parse a stream: one dictionary per event, its id as `id`."""
    found = []
    for block in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "data" in fields:
            found.append({"id": int(fields["id"]), **json.loads(fields["data"])})
    return found


def test_a_run_shows_its_steps_plan_and_critical_path(
    acme: PersonOf,
    run_id: str,
    worker: Database,
) -> None:
    execute(worker)
    run = acme("ana").get(f"/v1/runs/{run_id}").json()
    assert run["state"] == "awaiting-approval"
    assert run["can"] == ["approve", "deny", "cancel"]
    assert run["plan"] == {
        "digest": DIGEST,
        "counts": {"foundation": {"create": 20}},
        "approved": False,
    }
    assert [step["key"] for step in run["steps"]] == ["approval", "base", "seal"]
    assert run["critical_path"]["keys"] == ["approval", "base", "seal"]
    assert run["critical_path"]["remaining_seconds"] >= 7
    assert acme("omar").get(f"/v1/runs/{run_id}/plan").json()["digest"] == DIGEST


def test_only_another_person_approves_and_only_by_the_right_digest(
    acme: PersonOf,
    run_id: str,
    worker: Database,
    database: DatabaseUrls,
) -> None:
    execute(worker)
    body = {"digest": DIGEST}
    assert acme("sam").post(f"/v1/runs/{run_id}/approve", body).status_code == 403
    wrong = acme("ana").post(f"/v1/runs/{run_id}/approve", {"digest": "sha256:" + "0" * 64})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (409, "plan-changed")
    right = acme("ana").post(f"/v1/runs/{run_id}/approve", body)
    assert right.status_code == 200, right.text
    assert right.json()["plan"]["approved"]
    execute(worker)
    assert acme("sam").get(f"/v1/runs/{run_id}").json()["state"] == "succeeded"
    again = acme("ana").post(f"/v1/runs/{run_id}/approve", body)
    assert again.status_code == 409


def test_the_requesters_other_identity_cannot_approve_even_when_it_is_known_only_later(
    acme: PersonOf,
    run_id: str,
    worker: Database,
    database: DatabaseUrls,
) -> None:
    execute(worker)
    with psycopg.connect(database.admin) as connection:
        connection.execute(
            "UPDATE principal SET person_key = '4711'"
            " WHERE subject IN ('sam@acme.test', 'ana@acme.test')"
        )
    for decision, body in (
        ("approve", {"digest": DIGEST}),
        ("deny", {"reason": "too many permissions"}),
    ):
        refused = acme("ana").post(f"/v1/runs/{run_id}/{decision}", body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "four-eyes")
    assert acme("sam").get(f"/v1/runs/{run_id}").json()["state"] == "awaiting-approval"


def test_a_refusal_needs_a_reason_and_ends_the_run(
    acme: PersonOf,
    run_id: str,
    worker: Database,
) -> None:
    execute(worker)
    assert acme("ana").post(f"/v1/runs/{run_id}/deny", {"reason": ""}).status_code == 422
    denied = acme("ana").post(f"/v1/runs/{run_id}/deny", {"reason": "too many permissions"})
    assert denied.status_code == 200
    execute(worker)
    run = acme("sam").get(f"/v1/runs/{run_id}").json()
    assert (run["state"], run["outcome"]) == ("cancelled", "denied")
    assert "too many permissions" in run["error_message"]


def test_a_parked_run_is_retried_and_a_finished_one_is_not(
    acme: PersonOf,
    run_id: str,
    worker: Database,
) -> None:
    execute(worker)
    acme("ana").post(f"/v1/runs/{run_id}/approve", {"digest": DIGEST})
    # The work step succeeds, the close fails: a person has to look.
    hold = threading.Event()
    faults = Faults(hold=hold)
    thread = threading.Thread(target=execute, args=(worker, faults))
    thread.start()
    sam = acme("sam")
    wait_until(lambda: _state(sam, run_id, "base") == "running", "the work runs")
    hold.set()
    wait_until(lambda: _state(sam, run_id, "base") == "succeeded", "the work is done")
    thread.join(10)
    assert sam.get(f"/v1/runs/{run_id}").json()["state"] == "succeeded"
    refused = sam.post(f"/v1/runs/{run_id}/retry", {})
    assert refused.status_code == 409
    assert "new install run" in refused.json()["error"]["fix"]


def _state(caller: Any, run_id: str, key: str) -> str:
    steps = caller.get(f"/v1/runs/{run_id}").json()["steps"]
    return str(next(step["state"] for step in steps if step["key"] == key))


def test_the_stream_ends_with_the_run_and_has_no_gap(
    acme: PersonOf,
    run_id: str,
    worker: Database,
) -> None:
    execute(worker)
    acme("ana").post(f"/v1/runs/{run_id}/approve", {"digest": DIGEST})
    execute(worker)
    streamed = acme("omar").get(f"/v1/runs/{run_id}/events")
    assert streamed.headers["content-type"].startswith("text/event-stream")
    found = events(streamed.text)
    assert [event["id"] for event in found] == list(range(1, len(found) + 1))
    assert [event["seq"] for event in found] == [event["id"] for event in found]
    assert (found[-1]["kind"], found[-1]["state"]) == ("run.state", "succeeded")


def test_a_stream_resumes_after_the_last_event_it_sent(
    acme: PersonOf,
    client: TestClient,
    run_id: str,
    worker: Database,
) -> None:
    execute(worker)
    acme("ana").post(f"/v1/runs/{run_id}/approve", {"digest": DIGEST})
    execute(worker)
    caller = acme("sam")
    everything = events(caller.get(f"/v1/runs/{run_id}/events").text)
    middle = everything[len(everything) // 2]["id"]
    headers = {
        "Authorization": f"Bearer {token_of('sam@acme.test')}",
        "Last-Event-ID": str(middle),
    }
    rest = events(client.get(f"/v1/runs/{run_id}/events", headers=headers).text)
    assert [event["id"] for event in rest] == [
        event["id"] for event in everything if event["id"] > middle
    ]
    assert rest == events(caller.get(f"/v1/runs/{run_id}/events?after={middle}").text)


def test_a_stream_that_is_open_gets_events_as_they_happen(
    acme: PersonOf,
    run_id: str,
    worker: Database,
) -> None:
    execute(worker)
    acme("ana").post(f"/v1/runs/{run_id}/approve", {"digest": DIGEST})
    streamed: list[str] = []
    reader = threading.Thread(
        target=lambda: streamed.append(acme("sam").get(f"/v1/runs/{run_id}/events").text)
    )
    reader.start()
    execute(worker)
    reader.join(20)
    assert events(streamed[0])[-1]["state"] == "succeeded"


def test_a_run_of_a_boundary_that_is_not_ones_own_does_not_exist(
    acme: PersonOf,
    run_id: str,
) -> None:
    for path in ("", "/plan", "/events"):
        answer = acme("rui").get(f"/v1/runs/{run_id}{path}")
        assert answer.status_code in (403, 404)
        assert run_id not in json.dumps(answer.json().get("error", {}).get("detail", {}))
    missing = acme("sam").get("/v1/runs/00000000-0000-7000-8000-000000000000/events")
    assert missing.status_code == 404


def test_a_run_is_paused_resumed_and_kept_over_http(
    acme: PersonOf, run_id: str, worker: Database
) -> None:
    execute(worker)
    waiting = acme("sam").post(f"/v1/runs/{run_id}/pause", {"reason": "a freeze"})
    assert (waiting.status_code, "it waits already" in waiting.text) == (409, True)
    acme("ana").post(f"/v1/runs/{run_id}/approve", {"digest": DIGEST})
    assert acme("sam").post(f"/v1/runs/{run_id}/pause", {"reason": ""}).status_code == 422
    asked = acme("bea").post(f"/v1/runs/{run_id}/pause", {"reason": "a freeze"}).json()
    assert (asked["state"], asked["pause_requested"]) == ("running", True)
    execute(worker)
    paused = acme("sam").get(f"/v1/runs/{run_id}").json()
    assert (paused["state"], paused["can"]) == ("paused", ["resume", "cancel", "retry"])
    assert paused["parked_reason"].endswith("a freeze")
    assert acme("bea").post(f"/v1/runs/{run_id}/resume").status_code == 403
    resumed = acme("sam").post(f"/v1/runs/{run_id}/resume").json()
    assert (resumed["state"], resumed["pause_requested"]) == ("running", False)
    kept = acme("sam").post(f"/v1/runs/{run_id}/cancel", {"keep": True})
    assert kept.status_code == 202, kept.text
    execute(worker)
    run = acme("sam").get(f"/v1/runs/{run_id}").json()
    assert (run["state"], run["outcome"]) == ("cancelled", "kept")
    assert [step["state"] for step in run["steps"]] == [
        "not-attempted",
        "not-attempted",
        "succeeded",
    ]


def test_steps_are_skipped_by_a_second_person_and_only_where_the_run_can_do_without(
    acme: PersonOf, run_id: str, worker: Database
) -> None:
    execute(worker)
    body = {"step": "base", "reason": "not needed"}
    assert acme("sam").post(f"/v1/runs/{run_id}/skip", body).status_code == 403
    refused = acme("ana").post(f"/v1/runs/{run_id}/skip", body)
    assert (refused.status_code, refused.json()["error"]["field"]) == (400, "step")
    assert "cannot do without" in refused.text


def test_a_stopped_run_says_what_stops_it_and_what_to_do(
    acme: PersonOf, run_id: str, worker: Database
) -> None:
    execute(worker)
    waiting = acme("sam").get(f"/v1/runs/{run_id}").json()["failure"]
    assert waiting["step"] is None
    assert f"ringfence run plan {run_id}" in waiting["next_action"]
    acme("ana").post(f"/v1/runs/{run_id}/approve", {"digest": DIGEST})
    # The forward action fails once and is unwound; then the close fails at the same action.
    execute(worker, Faults(base_fails=2))
    run = acme("sam").get(f"/v1/runs/{run_id}").json()
    assert (run["state"], run["failure"]["step"]) == ("needs-attention", "seal")
    assert run["failure"]["message"] == "throttled"
    assert run["failure"]["code"] == "unavailable"
    acme("sam").post(f"/v1/runs/{run_id}/retry", {"step": "seal"})
    execute(worker)
    ended = acme("sam").get(f"/v1/runs/{run_id}").json()
    assert (ended["state"], ended["failure"]["step"]) == ("unwound", "base")
