"""Carry a claimed run as far as it goes: start what may start, undo what must be undone.

Called by the dispatcher in a thread of its own, one per claimed run. The rows decide (`decide`);
this module only executes moves, with a bounded number of step threads, and writes what came of
them. It never resumes anything specially: a run whose worker died looks like any other.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from controlplane.core.db import Database
from controlplane.core.errors import RingfenceError
from controlplane.core.logging import get
from controlplane.core.run_engine.decide import FINAL, PARKED, Move, Snapshot, next_move
from controlplane.core.run_engine.definition import (
    Definition,
    Done,
    Gate,
    Hold,
    LeaseLostError,
    Park,
    RunStoppingError,
    Skip,
    StepContext,
    StepStop,
    WorkerDrainingError,
    always_open,
)
from controlplane.core.run_engine.facts import RunFacts
from controlplane.core.run_engine.faults import StepBudgetExceededError, describe
from controlplane.core.run_engine.fence import Claim, Lease
from controlplane.core.run_engine.flights import Flight, Landing, fly
from controlplane.core.run_engine.graph import StepGraph
from controlplane.core.run_engine.store import RunStore
from proof.canonical import digest
from wire.run_event import RunState

log = get(__name__)
PortsT = TypeVar("PortsT")


@dataclass(frozen=True)
class EngineSettings:
    """How the engine behaves in this process. Units: seconds."""

    lease_seconds: float = 30.0
    """How long a silent worker keeps a run; renewed every third of it."""
    max_parallel_steps: int = 4
    """Step threads per run; a step mostly waits, so this bounds calls, not processors."""
    retry_base_seconds: float = 1.0
    """Wait before the second attempt of a step; doubles, up to `retry_cap_seconds`."""
    retry_cap_seconds: float = 30.0
    drain_seconds: float = 5.0
    """How long steps may take to stop when the worker shuts down."""


class RunExecutor(Generic[PortsT]):
    """Executes one claimed run."""

    def __init__(
        self,
        db: Database,
        definition: Definition,
        claim: Claim,
        ports: PortsT,
        settings: EngineSettings,
        draining: threading.Event,
        claimed_at: float,
        gate: Gate = always_open,
    ) -> None:
        self._definition = definition
        self._graph: StepGraph = definition.graph
        self._ports = ports
        self._settings = settings
        self._draining = draining
        self._gate = gate
        self._store = RunStore(db, claim)
        self._lease = Lease(db, claim, settings.lease_seconds, self._wake, self._cancel, claimed_at)
        self._landed: queue.Queue[Landing | None] = queue.Queue()
        self._flights: dict[str, Flight] = {}
        self._not_before: dict[str, float] = {}
        self._cancelled = threading.Event()
        self._park: tuple[str, Park] | None = None
        self._shown: str | None = None

    def run(self) -> None:
        """Go on until the run is final, parked, lost to another worker, or put back."""
        self._lease.start()
        try:
            self._go()
        except StepStop as stop:
            log.warning("run.left", run_id=str(self._store.claim.run_id), reason=str(stop))
        finally:
            # Whatever ended this: no step of ours acts on without somebody who renews the lease.
            self._stop_flights(LeaseLostError("this worker let go of the run"))
            self._lease.stop()

    # -- the loop -----------------------------------------------------------------------------

    def _go(self) -> None:
        facts = self._store.load()
        if facts.steps:
            params = self._definition.params.model_validate(facts.params)
        else:
            try:
                params = self._store.add_steps(self._definition, facts, self._ports)
            except (RingfenceError, ValidationError) as error:
                # Nothing was begun: a person must look, and a claim would only fail again.
                code, message, _ = describe(error)
                ended: RunState = "cancelled" if facts.cancel_requested else "needs-attention"
                if self._definition.lane == "read" and not facts.cancel_requested:
                    # Nobody waits for a look that cannot begin: it ends, and is asked for again.
                    self._store.turn_around(facts.ctx, "failed", None, code, message)
                    ended = "failed"
                self._store.set_state(facts.ctx, ended, reason=message, code=code)
                return
        self._shown = facts.state
        if facts.cancel_requested:
            self._cancelled.set()
        while True:
            if not self._lease.held():
                raise LeaseLostError("the lease ran out")
            if self._draining.is_set():
                self._drain()
                return
            facts = self._store.load()
            if self._advance(facts, params):
                return
            self._wait()

    def _advance(self, facts: RunFacts, params: BaseModel) -> bool:
        """Carry out one move; return whether the run is over or parked for this worker."""
        if self._cancelled.is_set() and facts.view.outcome is None and not self._closing(facts):
            keeps = facts.cancel_keeps
            self._turn_around(
                facts, "kept" if keeps else "cancelled", None, "cancelled",
                "a person cancelled the run" + (" and keeps what exists" if keeps else ""),
            )  # fmt: skip
            facts = self._store.load()
        if self._park is not None:
            return self._finish_park(facts)
        move = next_move(
            self._graph,
            Snapshot(
                facts.view.outcome,  # type: ignore[arg-type]  # a text column
                {key: step.state for key, step in facts.steps.items()},
                {key: step.failures for key, step in facts.steps.items()},
            ),
        )
        if move.outcome is not None and facts.view.outcome is None:
            at_fault = move.at_fault
            self._turn_around(facts, move.outcome, at_fault, "step-failed", f"{at_fault} failed")
            return False
        return self._carry_out(move, facts, params)

    def _closing(self, facts: RunFacts) -> bool:
        """Say whether the close has begun: from then on there is nothing left to cancel."""
        return any(facts.steps[key].state != "pending" for key in self._graph.keys("close"))

    def _carry_out(self, move: Move, facts: RunFacts, params: BaseModel) -> bool:
        if facts.view.outcome is not None and self._flying_forward_work():
            return False  # they were told to stop; nothing is undone beside them
        if move.not_attempted or move.interrupted:
            self._store.give_up(move.not_attempted, move.interrupted)
            return False
        if move.state in FINAL or move.state in PARKED:
            if self._flights:
                return False
            if move.state in PARKED:
                run_id = str(self._store.claim.run_id)
                log.error("run.needs-a-person", run_id=run_id, state=move.state, step=move.at_fault)
            self._store.set_state(facts.ctx, move.state, reason=self._why(move), step=move.at_fault)
            return True
        if hold := self._hold(move, facts):
            if self._flights:
                return False
            self._store.set_state(
                facts.ctx, "paused", reason=hold.reason,
                resume_at=hold.resume_at.isoformat() if hold.resume_at else None,
            )  # fmt: skip
            return True
        # An approved run that looks at its approval again does not go back to planning.
        if move.state != self._shown and (move.state, self._shown) != ("planning", "running"):
            self._store.set_state(facts.ctx, move.state)
            self._shown = move.state
        for key in move.start:
            self._launch(key, facts, params, is_undo=False)
        for key in move.undo:
            self._launch(key, facts, params, is_undo=True)
        return False

    def _hold(self, move: Move, facts: RunFacts) -> Hold | None:
        """Return why no further step may begin now: a person's wish, or the gate's.

        The close is never held: it only ends our access. Nor is an unwind: what it takes away is
        the run's own, and waiting with it would keep the way in open.
        """
        if facts.view.outcome is not None:
            return None
        begun = [self._definition.step(key) for key in move.start if key not in self._flights]
        if facts.pause_reason is not None and any(step.phase == "work" for step in begun):
            return Hold(facts.pause_reason)
        if any(step.has_effect for step in begun):
            return self._store.ask(self._gate)
        return None

    @staticmethod
    def _why(move: Move) -> str | None:
        if move.state == "stuck":
            return f"the undo of {move.at_fault} failed"
        return f"{move.at_fault} failed" if move.at_fault else None

    def _wait(self) -> None:
        """Wait for a step to land, or for the moment a failed one may run again."""
        waits = [when for key, when in self._not_before.items() if key not in self._flights]
        pause = min((max(when - time.monotonic(), 0.01) for when in waits), default=0.5)
        try:
            landing = self._landed.get(timeout=min(pause, 0.5))
        except queue.Empty:
            landing = None
        self._check_deadlines()
        while landing is not None:
            self._land(landing)
            try:
                landing = self._landed.get_nowait()
            except queue.Empty:
                landing = None

    # -- steps --------------------------------------------------------------------------------

    def _launch(self, key: str, facts: RunFacts, params: BaseModel, *, is_undo: bool) -> None:
        if key in self._flights or len(self._flights) >= self._settings.max_parallel_steps:
            return
        if time.monotonic() < self._not_before.get(key, 0.0):
            return
        self._not_before.pop(key, None)
        step = self._definition.step(key)
        if is_undo and step.undo is None:
            self._store.undo_finished(facts.ctx, key)
            self._landed.put(None)
            return
        outputs = {k: s.output for k, s in facts.steps.items() if s.output is not None}
        if is_undo:
            self._store.undo_started(facts.ctx, key)
            attempt = facts.steps[key].attempt + 1
        else:
            attempt = self._store.step_started(
                facts.ctx, key, self._input_hash(key, params, outputs)
            )
        budget = step.budget(params) if callable(step.budget) else step.budget
        flight = Flight(step, is_undo, attempt, time.monotonic() + 2 * budget)
        context = StepContext(
            ctx=facts.ctx,
            run=facts.view,
            step=key,
            attempt=attempt,
            params=params,
            outputs=outputs,
            ports=self._ports,
            journal=self._store,
            budget_seconds=budget,
            lease_held=self._lease.held,
            stop=flight.stop,
        )
        self._flights[key] = flight
        threading.Thread(
            target=fly, args=(flight, context, self._landed.put), name=f"step-{key}", daemon=True
        ).start()

    def _land(self, landing: Landing) -> None:
        flight = self._flights.pop(landing.key)
        if isinstance(landing.error, LeaseLostError):
            raise landing.error
        if isinstance(landing.error, WorkerDrainingError):
            return  # the row stays `running` or `unwinding`: the next worker runs it again
        facts = self._store.load()
        if landing.error is not None:
            self._land_error(flight, facts, landing.error)
        elif isinstance(landing.result, Park):
            if not flight.is_undo and flight.step.undo is None:
                # A step with an undo stays `running`: it may have left something behind.
                self._store.step_parked(landing.key)
            self._park = (landing.key, landing.result)
        elif flight.is_undo:
            self._store.undo_finished(facts.ctx, landing.key)
        elif isinstance(landing.result, Skip):
            self._store.step_finished(
                facts.ctx, landing.key, "skipped", detail={"reason": landing.result.reason}
            )
        else:
            output = landing.result.output if isinstance(landing.result, Done) else {}
            self._store.step_finished(facts.ctx, landing.key, "succeeded", output=output)

    def _land_error(self, flight: Flight, facts: RunFacts, error: BaseException) -> None:
        key = flight.step.key
        code, message, retryable = describe(error)
        if code == "internal":
            log.error("step.failed", step=key, exc_info=error)
        most = flight.step.max_attempts
        failures = facts.steps[key].failures + 1 if retryable else most
        if flight.is_undo:
            # An undo gets all its attempts whatever the error says: what is left behind costs.
            failures = facts.steps[key].failures + 1
            self._store.undo_failed(facts.ctx, key, code, message, failures=failures)
        else:
            self._store.step_failed(facts.ctx, key, code, message, failures=failures)
        if failures < most:
            pause = min(
                self._settings.retry_base_seconds * 2 ** (failures - 1),
                self._settings.retry_cap_seconds,
            )
            self._not_before[key] = time.monotonic() + pause

    def _check_deadlines(self) -> None:
        for flight in self._flights.values():
            if time.monotonic() > flight.deadline:
                flight.stop.set(
                    StepBudgetExceededError(
                        f"{flight.step.key} took more than twice its budget and was stopped"
                    )
                )

    @staticmethod
    def _input_hash(key: str, params: BaseModel, outputs: Mapping[str, Any]) -> str:
        return digest({"step": key, "params": params.model_dump(mode="json"), "outputs": outputs})

    # -- turning, parking, leaving ------------------------------------------------------------

    def _turn_around(
        self, facts: RunFacts, outcome: Any, at_fault: str | None, code: str, message: str
    ) -> None:
        self._store.turn_around(facts.ctx, outcome, at_fault, code, message)
        self._park = None
        self._stop_flights(RunStoppingError(message), work_only=True)

    def _finish_park(self, facts: RunFacts) -> bool:
        if self._flights or self._park is None:
            return False
        key, park = self._park
        if park.retry_in is not None and park.state not in PARKED:
            if park.state != self._shown:
                self._store.set_state(facts.ctx, park.state, reason=park.reason, step=key)
            self._store.release(park.retry_in)
            return True
        self._store.set_state(facts.ctx, park.state, reason=park.reason, step=key)
        return True

    def _drain(self) -> None:
        """Stop the steps, and give the run back at once if all of them did stop."""
        self._stop_flights(WorkerDrainingError("the worker is shutting down"))
        until = time.monotonic() + self._settings.drain_seconds
        while self._flights and time.monotonic() < until:
            try:
                landing = self._landed.get(timeout=0.1)
            except queue.Empty:
                continue
            if landing is not None:
                self._land(landing)
        if not self._flights:
            self._store.release(timedelta(0))

    def _stop_flights(self, reason: StepStop, *, work_only: bool = False) -> None:
        for flight in self._flights.values():
            if not (work_only and flight.step.phase == "close"):
                flight.stop.set(reason)

    def _flying_forward_work(self) -> bool:
        return any(not f.is_undo and f.step.phase == "work" for f in self._flights.values())

    def _wake(self) -> None:
        self._stop_flights(LeaseLostError("the lease was lost"))
        self._landed.put(None)

    def _cancel(self) -> None:
        self._cancelled.set()
        self._landed.put(None)
