"""Carry a claimed run as far as it goes: start what may start, undo what must be undone.

Called by the dispatcher in a thread of its own, one per claimed run. The rows decide (`decide`);
this module only executes moves, with a bounded number of step threads, and writes what came of
them. It never resumes anything specially: a run whose worker died looks like any other.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from controlplane.core.db import Database
from controlplane.core.errors import RingfenceError
from controlplane.core.logging import get
from controlplane.core.run_engine import changes
from controlplane.core.run_engine.changes import Change
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
from controlplane.core.run_engine.facts import RunFacts, StepFacts
from controlplane.core.run_engine.faults import describe, failures_after
from controlplane.core.run_engine.fence import Claim, Lease
from controlplane.core.run_engine.flights import Flight, Flights, Landing
from controlplane.core.run_engine.graph import StepGraph
from controlplane.core.run_engine.store import Recorded, RunStore
from proof.canonical import digest
from wire.run_event import RunState

log = get(__name__)
PortsT = TypeVar("PortsT")
GoesOn = Literal["again", "wait", "over"]
"""Whether to look again at once, when a step lands, or not any more."""


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
        self._lease = Lease(db, claim, settings.lease_seconds, self._lose, self._cancel, claimed_at)
        self._flights = Flights(settings.max_parallel_steps)
        self._cancelled = threading.Event()
        self._park: tuple[str, Park] | None = None
        self._facts: RunFacts
        """The run as its rows say it is, and what was noted since: only their holder changes it."""
        self._noted: list[Change] = []

    def run(self) -> None:
        """Go on until the run is final, parked, lost to another worker, or put back."""
        self._lease.start()
        try:
            self._go()
        except StepStop as stop:
            log.warning("run.left", run_id=str(self._store.claim.run_id), reason=str(stop))
        finally:
            # Whatever ended this: no step of ours acts on without somebody who renews the lease.
            self._flights.stop(LeaseLostError("this worker let go of the run"))
            self._flights.close()
            self._lease.stop()

    # -- the loop -----------------------------------------------------------------------------

    def _go(self) -> None:
        self._facts = self._store.load()
        params = self._read_params()
        if params is None:
            return
        if self._facts.cancel_requested:
            self._cancelled.set()
        while True:
            if not self._lease.held():
                raise LeaseLostError("the lease ran out")
            if self._draining.is_set():
                self._drain()
                return
            goes_on = self._advance(params)
            if goes_on == "over":
                return
            if goes_on == "wait":
                self._write()
                for flight, landing in self._flights.landings():
                    self._land(flight, landing)

    def _read_params(self) -> BaseModel | None:
        """Return the run's parameters, or None for a run that a person must look at."""
        if self._facts.steps:
            return self._definition.params.model_validate(self._facts.params)
        try:
            params = self._store.add_steps(self._definition, self._facts, self._ports)
        except (RingfenceError, ValidationError) as error:
            # Nothing was begun: a person must look, and a claim would only fail again.
            code, message, _ = describe(error)
            ended: RunState = "cancelled" if self._facts.cancel_requested else "needs-attention"
            if self._definition.lane == "read" and not self._facts.cancel_requested:
                # Nobody waits for a look that cannot begin: it ends, and is asked for again.
                self._noted.append(changes.turn_around("failed", None, code, message))
                ended = "failed"
            self._write(changes.set_state(ended, reason=message, code=code))
            return None
        steps = {step.key: StepFacts("pending", 0, 0, None) for step in self._definition.steps}
        self._facts = replace(self._facts, steps=steps)
        return params

    def _advance(self, params: BaseModel) -> GoesOn:
        """Carry out one move."""
        if self._cancelled.is_set() and self._outcome is None and not self._closing(self._facts):
            self._write(always=True)  # whether it keeps what exists is known only now
            keeps = self._facts.cancel_keeps
            self._turn_around(
                "kept" if keeps else "cancelled", None, "cancelled",
                "a person cancelled the run" + (" and keeps what exists" if keeps else ""),
            )  # fmt: skip
        if self._park is not None:
            return self._finish_park()
        facts = self._facts
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
            self._turn_around(move.outcome, at_fault, "step-failed", f"{at_fault} failed")
            return "again"
        return self._carry_out(move, params)

    @property
    def _outcome(self) -> str | None:
        return self._facts.view.outcome

    def _closing(self, facts: RunFacts) -> bool:
        """Say whether the close has begun: from then on there is nothing left to cancel."""
        return any(facts.steps[key].state != "pending" for key in self._graph.keys("close"))

    def _carry_out(self, move: Move, params: BaseModel) -> GoesOn:
        if self._outcome is not None and self._flights.has_forward_work():
            return "wait"  # they were told to stop; nothing is undone beside them
        if self._give_up(move):
            return "again"
        if move.state in FINAL or move.state in PARKED:
            if self._flights:
                return "wait"
            if move.state in PARKED:
                run_id = str(self._store.claim.run_id)
                log.error("run.needs-a-person", run_id=run_id, state=move.state, step=move.at_fault)
            self._write(changes.set_state(move.state, reason=self._why(move), step=move.at_fault))
            return "over"
        begun = [self._definition.step(key) for key in move.start if key not in self._flights]
        pause = self._facts.pause_reason if self._outcome is None else None
        # The close is never held: it only ends our access. Nor is an unwind: what it takes away is
        # the run's own, and waiting with it would keep the way in open.
        if pause is not None and any(step.phase == "work" for step in begun):
            return self._hold(Hold(pause))
        return self._begin(move, params)

    def _give_up(self, move: Move) -> bool:
        """Mark what needs nobody to act: steps never reached, cut off, or without an undo."""
        steps = self._facts.steps
        idle = [
            key
            for key in move.undo
            if key not in self._flights and self._definition.step(key).undo is None
        ]
        for key in move.not_attempted:
            self._note(changes.never_reached(key, steps[key]))
        for key in move.interrupted:
            self._note(changes.cut_off(key, steps[key]))
        for key in idle:
            self._note(changes.undo_finished(key, steps[key]))
        return bool(move.not_attempted or move.interrupted or idle)

    def _hold(self, hold: Hold) -> GoesOn:
        """Pause: a person's wish, or the gate's."""
        if self._flights:
            return "wait"
        resume_at = hold.resume_at.isoformat() if hold.resume_at else None
        self._write(changes.set_state("paused", reason=hold.reason, resume_at=resume_at))
        return "over"

    def _begin(self, move: Move, params: BaseModel) -> GoesOn:
        """Write the starts of all steps that may begin now, in one transaction; let them fly."""
        keys = self._flights.free_to_begin((*move.start, *move.undo))
        is_undo = bool(move.undo)
        made: list[Change] = []
        # An approved run that looks at its approval again does not go back to planning.
        if move.state != self._facts.state and (move.state, self._facts.state) != (
            "planning",
            "running",
        ):
            made.append(changes.set_state(move.state, starts=True))
        outputs = self._outputs()
        for key in keys:
            before = self._facts.steps[key]
            made.append(
                changes.undo_started(key, before)
                if is_undo
                else changes.step_started(key, before, self._input_hash(key, params, outputs))
            )
        if not made:
            return "wait"
        asks = self._outcome is None and self._definition.may_change(keys, outputs)
        recorded = self._write(*made, gate=self._gate if asks else None)
        if recorded.hold is not None:
            return self._hold(recorded.hold)
        if not recorded.began:
            return "again"
        for key in keys:
            self._launch(key, params, outputs, is_undo=is_undo)
        return "wait"

    # -- what is written ----------------------------------------------------------------------

    def _note(self, change: Change) -> None:
        """Take a change as made; it is written before anything else begins."""
        self._noted.append(change)
        self._facts = change.seen_in(self._facts)

    def _write(self, *made: Change, gate: Gate | None = None, always: bool = False) -> Recorded:
        """Write what was noted, then `made`, and learn what people have asked of the run."""
        noted, self._noted = self._noted, []
        if not (noted or made or always):
            return Recorded(self._facts, False, None)
        recorded = self._store.record(self._facts, (*noted, *made), gate=gate)
        self._facts = recorded.facts
        if self._facts.cancel_requested:
            self._cancelled.set()
        return recorded

    @staticmethod
    def _why(move: Move) -> str | None:
        if move.state == "stuck":
            return f"the undo of {move.at_fault} failed"
        return f"{move.at_fault} failed" if move.at_fault else None

    # -- steps --------------------------------------------------------------------------------

    def _launch(
        self, key: str, params: BaseModel, outputs: Mapping[str, Any], *, is_undo: bool
    ) -> None:
        step = self._definition.step(key)
        attempt = self._facts.steps[key].attempt
        budget = step.budget(params) if callable(step.budget) else step.budget
        flight = Flight(step, is_undo, attempt, time.monotonic() + 2 * budget)
        context = StepContext(
            ctx=self._facts.ctx,
            run=self._facts.view,
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
        self._flights.launch(flight, context)

    def _outputs(self) -> dict[str, dict[str, Any]]:
        steps = self._facts.steps
        return {key: step.output for key, step in steps.items() if step.output is not None}

    def _land(self, flight: Flight, landing: Landing) -> None:
        if isinstance(landing.error, LeaseLostError):
            raise landing.error
        if isinstance(landing.error, WorkerDrainingError):
            return  # the row stays `running` or `unwinding`: the next worker runs it again
        key, before = landing.key, self._facts.steps[landing.key]
        if landing.error is not None:
            self._land_error(flight, before, landing.error)
        elif isinstance(landing.result, Park):
            if not flight.is_undo and flight.step.undo is None:
                # A step with an undo stays `running`: it may have left something behind.
                self._note(changes.step_parked(key, before))
            self._park = (key, landing.result)
        elif flight.is_undo:
            self._note(changes.undo_finished(key, before))
        elif isinstance(landing.result, Skip):
            reason = landing.result.reason
            self._note(changes.step_finished(key, before, "skipped", reason=reason))
        else:
            output = landing.result.output if isinstance(landing.result, Done) else {}
            # As another worker would read it.
            output = json.loads(json.dumps(output))
            self._note(changes.step_finished(key, before, "succeeded", output=output))

    def _land_error(self, flight: Flight, before: StepFacts, error: BaseException) -> None:
        key = flight.step.key
        code, message, retryable = describe(error)
        if code == "internal":
            log.error("step.failed", step=key, exc_info=error)
        most = flight.step.max_attempts
        counted = failures_after(code, before.failures, flight.attempt)
        failures = counted if retryable else most
        if flight.is_undo:
            # An undo gets all its attempts whatever the error says: what is left behind costs.
            failures = counted
            self._note(changes.undo_failed(key, before, code, message, failures))
        else:
            self._note(changes.step_failed(key, before, code, message, failures))
        if failures < most:
            pause = min(
                self._settings.retry_base_seconds * 2 ** (failures - 1),
                self._settings.retry_cap_seconds,
            )
            self._flights.delay(key, pause)

    @staticmethod
    def _input_hash(key: str, params: BaseModel, outputs: Mapping[str, Any]) -> str:
        return digest({"step": key, "params": params.model_dump(mode="json"), "outputs": outputs})

    # -- turning, parking, leaving ------------------------------------------------------------

    def _turn_around(self, outcome: Any, at_fault: str | None, code: str, message: str) -> None:
        self._note(changes.turn_around(outcome, at_fault, code, message))
        self._park = None
        self._flights.stop(RunStoppingError(message), work_only=True)

    def _finish_park(self) -> GoesOn:
        if self._flights or self._park is None:
            return "wait"
        key, park = self._park
        made = [changes.set_state(park.state, reason=park.reason, step=key)]
        if park.retry_in is not None and park.state not in PARKED:
            if park.state == self._facts.state:
                made = []
            made.append(changes.release(park.retry_in))
        self._write(*made)
        return "over"

    def _drain(self) -> None:
        """Stop the steps, and give the run back at once if all of them did stop."""
        self._flights.stop(WorkerDrainingError("the worker is shutting down"))
        until = time.monotonic() + self._settings.drain_seconds
        while self._flights and time.monotonic() < until:
            for flight, landing in self._flights.landings(0.1):
                self._land(flight, landing)
        self._write(*([] if self._flights else [changes.release(timedelta(0))]))

    def _lose(self) -> None:
        self._flights.stop(LeaseLostError("the lease was lost"))
        self._flights.wake()

    def _cancel(self) -> None:
        self._cancelled.set()
        self._flights.wake()
