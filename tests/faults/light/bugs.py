"""Known bugs of run engines, each switched on by name inside a worker process of the tests.

`BUGS` says what each breaks, in which schedules it must show, and which invariants may report it.
They take back what the engine or a step does on purpose; a bug that the oracle does not catch would
be a hole in the oracle. Sources: install-engine.md 6 and 7.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from controlplane.core import audit, clock, outbox_relay
from controlplane.core.db import apply_scope
from controlplane.core.errors import UnavailableError
from controlplane.core.run_engine import changes, dispatcher, executor, fence, graph, store
from controlplane.core.run_engine.definition import StepStop
from tests.faults.light import saga
from tests.faults.light.program import program
from tests.faults.light.schedule import WORLDS, Fault, Schedule


@dataclass(frozen=True)
class Bug:
    """One known bug."""

    name: str
    says: str
    """What it breaks, in words."""
    caught_by: frozenset[str]
    """The invariants of which at least one must report it."""
    switch_on: Callable[[], None]
    fault: str | None
    """The fault that shows it; None for a bug that needs none."""
    point: str = "call:create"
    flavour: str = "plain"
    world: str = "process"
    times: int = 1

    def schedule(self, number: int, *, is_on: bool) -> Schedule:
        """Return the schedule of that number that aims at the bug, with it or without."""
        rng = random.Random(f"{self.name}-{number}")
        kinds = tuple(f"light.{self.flavour}.{self.name}-{number}-{n}" for n in range(4))
        faults: list[Fault] = []
        for run, kind in enumerate(kinds):
            keys = [s.key for s in program(kind).steps if s.makes_objects and s.phase == "work"]
            if self.fault is None or not keys:
                continue
            point = "start" if self.point == "start" else f"{self.point}:{rng.choice(keys)}"
            faults += [Fault(self.fault, run, point, 1 + n) for n in range(self.times)]
        bug = self.name if is_on else None
        return Schedule(f"bug-{self.name}-{number}", kinds, tuple(faults), WORLDS[self.world], bug)


BUGS: dict[str, Bug] = {}


def _bug(
    name: str, says: str, caught_by: str, fault: str | None, **more: Any
) -> Callable[[Callable[[], None]], Callable[[], None]]:
    def add(switch_on: Callable[[], None]) -> Callable[[], None]:
        BUGS[name] = Bug(name, says, frozenset(caught_by.split()), switch_on, fault, **more)
        return switch_on

    return add


@_bug(
    "skip-the-fence", "a worker writes under whatever fence the run has now", "I6",
    "F2.freeze", point="before:step_finished",
)  # fmt: skip
def _skip_the_fence() -> None:
    plain = store.RunStore._call

    def call(self: Any, on: Any, function: str, rest: dict[str, Any]) -> Any:
        with self._db.transaction(self.claim.scope) as session:
            now = session.execute(
                text("SELECT fence FROM run WHERE boundary_id = :b AND id = :id"),
                {"b": self.claim.boundary_id, "id": self.claim.run_id},
            ).scalar_one()
        self.claim = replace(self.claim, fence=now)
        if isinstance(on, Session):
            apply_scope(on, self.claim.scope, now)
        return plain(self, on, function, rest)

    store.RunStore._call = call  # type: ignore[method-assign]
    store.hold = lambda session, claim: None


@_bug(
    "trust-a-lost-lease", "a worker goes on although its lease has run out", "I1 I2 I6 I8",
    "F2.freeze", point="done:assume",
)  # fmt: skip
def _trust_a_lost_lease() -> None:
    fence.Lease.held = lambda self: True  # type: ignore[method-assign]
    fence.Lease._lose = lambda self: None  # type: ignore[method-assign]


@_bug("acknowledge-early", "a step counts as done before its effect", "I4 I7", "F1.kill")
def _acknowledge_early() -> None:
    plain = changes.step_started

    def started(key: str, before: Any, input_hash: str) -> Any:
        change = plain(key, before, input_hash)
        row = {**change.row, "state": "succeeded", "output": {}, "finished": "now"}  # type: ignore[dict-item]  # a mapping
        return replace(change, row=row)

    changes.step_started = started


@_bug("intent-after-effect", "the start of a step is written after its effect", "I1 I4", None)
def _intent_after_effect() -> None:
    plain = store.RunStore.record
    late: dict[str, Any] = {}

    def record(self: Any, facts: Any, made: Any, **more: Any) -> Any:
        written = []
        for change in made:
            if change.name == "step_started":
                late[change.step] = replace(change, starts=False)
            else:
                if change.name == "step_finished" and change.step in late:
                    written.append(late.pop(change.step))
                written.append(change)
        recorded = plain(self, facts, written, **more)
        facts = recorded.facts
        for change in made:
            if change.name == "step_started":
                facts = change.seen_in(facts)
        return replace(recorded, facts=facts)

    store.RunStore.record = record  # type: ignore[method-assign]


@_bug("lease-without-end", "nobody takes a dead worker's run over", "I3", "F1.kill")
def _lease_without_end() -> None:
    plain = fence.claim_run

    def claim(db: Any, worker: str, seconds: float, **more: Any) -> Any:
        return plain(db, worker, 86_400.0, **more)

    def renew(self: Any) -> bool:
        return False

    dispatcher.claim_run = claim
    fence.Lease._renew = renew  # type: ignore[method-assign]


@_bug(
    "lease-clock-of-the-worker", "a lease ends by the worker's own wall clock", "I3 I6",
    "F1.kill", world="clock",
)  # fmt: skip
def _lease_clock_of_the_worker() -> None:
    plain_claim, plain_renew = fence.claim_run, fence.Lease._renew

    def until_my_time(db: Any, held: fence.Claim, seconds: float) -> None:
        with db.transaction(held.scope, held.fence) as session:
            session.execute(
                text("UPDATE run SET lease_until = :until WHERE boundary_id = :b AND id = :id"),
                {
                    "until": clock.now() + timedelta(seconds=seconds),
                    "b": held.boundary_id,
                    "id": held.run_id,
                },
            )

    def claim(db: Any, worker: str, seconds: float, *rest: Any, **more: Any) -> Any:
        # At the claim, too: a run of a few milliseconds is over before its first renewal.
        held = plain_claim(db, worker, seconds, *rest, **more)
        if held is not None:
            until_my_time(db, held, seconds)
        return held

    def renew(self: Any) -> bool | None:
        answer = plain_renew(self)
        until_my_time(self._db, self._claim, self._seconds)
        return answer

    dispatcher.claim_run = claim
    fence.Lease._renew = renew  # type: ignore[method-assign]


@_bug(
    "undo-not-idempotent", "an undo fails when it finds nothing to undo", "I3",
    "F1.kill", point="done:delete", flavour="failing",
)  # fmt: skip
def _undo_not_idempotent() -> None:
    def delete(self: Any, object_id: str) -> None:
        if self._with_session("delete", object=object_id)["was"] == "absent":
            raise UnavailableError("there is nothing to delete")

    saga.Visit.delete = delete  # type: ignore[method-assign]


@_bug("keep-the-generation", "a failed object is made again in its generation", "I2 I7", None)
def _keep_the_generation() -> None:
    def ensure(context: Any, spec: Any, cloud: Any) -> str:
        saga.begin_creation(context)
        made = saga._create(context, spec, cloud, 1, is_fresh=True)
        if made["status"] == "failed":
            saga._remove_failed(cloud, made["id"], 1)
            made = saga._create(context, spec, cloud, 1, is_fresh=True)
        saga.record(context, "created", 1, made["id"])
        return str(made["id"])

    saga._ensure = ensure


@_bug(
    "clear-pending-creates", "a creation without an answer counts as never made", "I2 I1",
    "F1.kill", point="done:create",
)  # fmt: skip
def _clear_pending_creates() -> None:
    plain = saga.begin_creation

    def begin(context: Any) -> saga.Intent:
        intent = plain(context)
        return (
            saga.Intent("none", intent.generation, None) if intent.phase == "creating" else intent
        )

    saga.begin_creation = begin


@_bug(
    "undo-only-success", "only steps that succeeded are undone", "I1 I3 I8",
    None, flavour="failing",
)  # fmt: skip
def _undo_only_success() -> None:
    graph.STARTED = frozenset({"succeeded", "unwinding"})


@_bug(
    "audit-beside-the-change", "audit records are written a moment later", "I4",
    "F1.kill", point="after:step_started",
)  # fmt: skip
def _audit_beside_the_change() -> None:
    plain = store.RunStore.record

    def late(self: Any, ctx: Any, audits: list[tuple[str, Any]]) -> None:
        time.sleep(0.2)
        with self.transaction() as session:
            for code, detail in audits:
                audit.append(
                    session,
                    ctx,
                    code,
                    target=f"run/{self.claim.run_id}",
                    boundary_id=self.claim.boundary_id,
                    detail={**detail, "fence": self.claim.fence},
                )

    def record(self: Any, facts: Any, made: Any, **more: Any) -> Any:
        audits = [change.audit for change in made if change.audit is not None]
        threading.Thread(target=late, args=(self, facts.ctx, audits), daemon=True).start()
        return plain(self, facts, [replace(change, audit=None) for change in made], **more)

    store.RunStore.record = record  # type: ignore[method-assign]


@_bug(
    "count-interruptions", "the death of a worker counts as a failure of its steps", "I3",
    "F1.kill", times=3,
)  # fmt: skip
def _count_interruptions() -> None:
    plain = executor.RunExecutor._go

    def go(self: Any) -> None:
        facts = self._store.load()
        died = [
            changes.step_failed(key, step, "interrupted", "its worker died", step.failures + 1)
            for key, step in facts.steps.items()
            if step.state == "running"
        ]
        if died:
            self._store.record(facts, died)
        plain(self)

    executor.RunExecutor._go = go  # type: ignore[method-assign]


@_bug(
    "never-send-again", "a message that was sent is never sent again", "I3 I12",
    "F3.flush-sent", point="start", flavour="hinted", world="queue",
)  # fmt: skip
def _never_send_again() -> None:
    plain = outbox_relay.Relay.__init__

    def init(self: Any, db: Any, send: Any, settings: Any, **more: Any) -> None:
        plain(self, db, send, replace(settings, resend_seconds=86_400.0), **more)

    outbox_relay.Relay.__init__ = init  # type: ignore[method-assign]


@_bug(
    "swallow-the-stop", "a step that must stop is taken for one that succeeded", "I7",
    "F1.drain", point="after:step_started",
)  # fmt: skip
def _swallow_the_stop() -> None:
    plain = saga._ensure

    def ensure(context: Any, spec: Any, cloud: Any) -> str:
        try:
            # A step that waits for the cloud, as most do: one of a few milliseconds is over before
            # the worker hears that it must stop, and then there is no stop to swallow.
            context.wait(0.3)
            return plain(context, spec, cloud)
        except StepStop:
            return ""

    saga._ensure = ensure
