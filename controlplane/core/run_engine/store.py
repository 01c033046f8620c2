"""A worker's writes to one run, all of them under its fence.

Called by the executor and, as `Journal`, by step contexts. Separate from the executor so that every
statement that must be fenced is in one file: each method is one transaction that first locks the
run's row and compares the fence, and the database's triggers check it a second time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

from pydantic import BaseModel
from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from controlplane.core import audit
from controlplane.core.actor import OpContext
from controlplane.core.db import Database
from controlplane.core.run_engine import events
from controlplane.core.run_engine.decide import FINAL, PARKED, Outcome
from controlplane.core.run_engine.definition import (
    Definition,
    Gate,
    Hold,
    LeaseLostError,
    seconds,
)
from controlplane.core.run_engine.facts import RunFacts, read_facts
from controlplane.core.run_engine.fence import Claim, hold, is_fence_refusal
from controlplane.core.run_engine.tables import Run, StepRow
from wire.run_event import RunState, StepState


class RunStore:
    """The rows of one claimed run."""

    def __init__(self, db: Database, claim: Claim) -> None:
        self._db = db
        self.claim = claim

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Open a fenced transaction scoped to the run's boundary. Raises: LeaseLostError."""
        try:
            with self._db.transaction(self.claim.scope) as session:
                hold(session, self.claim)
                yield session
        except DBAPIError as error:
            if is_fence_refusal(error):
                raise LeaseLostError(
                    f"run {self.claim.run_id}: the database refused fence {self.claim.fence}"
                ) from error
            raise

    def load(self) -> RunFacts:
        """Read the run and its steps."""
        with self.transaction() as session:
            return read_facts(session, self.claim)

    def add_steps(self, definition: Definition, facts: RunFacts, ports: Any) -> BaseModel:
        """Complete the parameters and write a row per step on the first claim; return them."""
        with self.transaction() as session:
            if definition.complete is not None:
                params = definition.complete(session, facts.view, facts.params, ports)
            else:
                params = definition.params.model_validate(facts.params)
            for position, step in enumerate(definition.steps):
                session.execute(
                    insert(StepRow).values(
                        organization_id=self.claim.organization_id,
                        boundary_id=self.claim.boundary_id,
                        run_id=self.claim.run_id,
                        key=step.key,
                        position=position,
                        title=step.title,
                        phase=step.phase,
                        skippable=step.skippable,
                        after=list(step.after),
                        budget_seconds=seconds(step.budget, params),
                        estimate_seconds=seconds(step.estimate, params),
                    )
                )
            session.execute(
                update(Run)
                .where(*self._is_run())
                .values(started_at=func.clock_timestamp(), params=params.model_dump(mode="json"))
            )
        return params

    # -- the run ------------------------------------------------------------------------------

    def set_state(self, ctx: OpContext, state: RunState, **detail: Any) -> None:
        """Move the run to `state`; a final or parked state gives the lease back."""
        values: dict[str, Any] = {"state": state}
        if state in FINAL or state in PARKED:
            values |= {"lease_until": None, "claimed_by": None}
        if state in FINAL:
            values["finished_at"] = func.clock_timestamp()
        if state in PARKED:
            values |= {
                "parked_at": func.clock_timestamp(),
                "parked_reason": detail.get("reason"),
                "resume_at": detail.get("resume_at"),
                "pause_requested_at": None,
            }
        with self.transaction() as session:
            session.execute(update(Run).where(*self._is_run()).values(values))
            self._event(session, "run.state", None, state, detail)
            self._audit(session, ctx, "run.state-changed", state=state)

    def turn_around(
        self, ctx: OpContext, outcome: Outcome, at_fault: str | None, code: str, message: str
    ) -> None:
        """Record why the run stops going forward; failures count from zero for the undos."""
        with self.transaction() as session:
            session.execute(
                update(Run)
                .where(*self._is_run())
                .values(outcome=outcome, at_fault=at_fault, error_code=code, error_message=message)
            )
            self._event(
                session,
                "log",
                at_fault,
                None,
                {"message": f"the run turns around: {message}", "code": code, "outcome": outcome},
            )
            self._audit(session, ctx, "run.state-changed", outcome=outcome, at_fault=at_fault)

    def release(self, retry_in: timedelta) -> None:
        """Give the lease back and become claimable again after `retry_in`."""
        with self.transaction() as session:
            session.execute(
                update(Run)
                .where(*self._is_run())
                .values(lease_until=None, claimed_by=None, next_run_at=func.now() + retry_in)
            )

    # -- steps --------------------------------------------------------------------------------

    def step_started(self, ctx: OpContext, key: str, input_hash: str) -> int:
        """Mark a step as running before its effects; return the number of this attempt."""
        with self.transaction() as session:
            attempt = session.execute(
                update(StepRow)
                .where(*self._is_step(key))
                .values(
                    state="running",
                    attempt=StepRow.attempt + 1,
                    input_hash=input_hash,
                    started_at=func.coalesce(StepRow.started_at, func.clock_timestamp()),
                    finished_at=None,
                )
                .returning(StepRow.attempt)
            ).scalar_one()
            self._event(session, "step.state", key, "running", {"attempt": attempt})
            self._audit(session, ctx, "step.started", step=key, attempt=attempt)
        return int(attempt)

    def step_finished(
        self,
        ctx: OpContext,
        key: str,
        state: StepState,
        *,
        output: dict[str, Any] | None = None,
        detail: dict[str, Any] | None = None,
    ) -> None:
        """Write a step's end: succeeded or skipped."""
        with self.transaction() as session:
            row = session.execute(
                update(StepRow)
                .where(*self._is_step(key))
                .values(
                    state=state,
                    output=output,
                    failures=0,
                    error_code=None,
                    error_message=None,
                    finished_at=func.clock_timestamp(),
                )
                .returning(StepRow.started_at, StepRow.finished_at, StepRow.budget_seconds)
            ).one()
            elapsed = (row.finished_at - row.started_at).total_seconds()
            shown = {"seconds": round(elapsed, 3), "budget_seconds": row.budget_seconds}
            self._event(session, "step.state", key, state, {**shown, **(detail or {})})
            self._audit(session, ctx, "step.finished", step=key, outcome=state)

    def step_parked(self, key: str) -> None:
        """Put a step back to pending: it runs again when the run is resumed."""
        with self.transaction() as session:
            session.execute(
                update(StepRow).where(*self._is_step(key)).values(state="pending", started_at=None)
            )
            self._event(session, "step.state", key, "pending", {})

    def step_failed(
        self, ctx: OpContext, key: str, code: str, message: str, *, failures: int
    ) -> None:
        """Write an error of the forward action."""
        with self.transaction() as session:
            session.execute(
                update(StepRow)
                .where(*self._is_step(key))
                .values(
                    state="failed",
                    failures=failures,
                    error_code=code,
                    error_message=message,
                    finished_at=func.clock_timestamp(),
                )
            )
            detail = {"code": code, "message": message, "failures": failures}
            self._event(session, "step.state", key, "failed", detail)
            self._audit(session, ctx, "step.finished", step=key, outcome="failed", error_code=code)

    def undo_started(self, ctx: OpContext, key: str) -> None:
        """Mark a step as being undone; the first time, its failures count from zero."""
        with self.transaction() as session:
            state = session.execute(select(StepRow.state).where(*self._is_step(key))).scalar_one()
            values: dict[str, Any] = {"state": "unwinding", "attempt": StepRow.attempt + 1}
            if state != "unwinding":
                values["failures"] = 0
            session.execute(update(StepRow).where(*self._is_step(key)).values(values))
            self._event(session, "step.state", key, "unwinding", {})
            self._audit(session, ctx, "step.started", step=key, undo=True)

    def undo_finished(self, ctx: OpContext, key: str) -> None:
        """Mark a step as undone."""
        with self.transaction() as session:
            session.execute(
                update(StepRow)
                .where(*self._is_step(key))
                .values(
                    state="unwound",
                    failures=0,
                    # The time of a step is that of its forward action, also after its undo.
                    finished_at=func.coalesce(StepRow.finished_at, func.clock_timestamp()),
                )
            )
            self._event(session, "step.state", key, "unwound", {})
            self._audit(session, ctx, "step.undone", step=key, outcome="unwound")

    def undo_failed(
        self, ctx: OpContext, key: str, code: str, message: str, *, failures: int
    ) -> None:
        """Write an error of the undo; the step stays `unwinding`."""
        with self.transaction() as session:
            session.execute(
                update(StepRow)
                .where(*self._is_step(key))
                .values(failures=failures, error_code=code, error_message=message)
            )
            detail = {"code": code, "message": message, "failures": failures, "undo": True}
            self._event(session, "step.state", key, "unwinding", detail)
            self._audit(session, ctx, "step.undone", step=key, outcome="failed", error_code=code)

    def give_up(self, never: tuple[str, ...], interrupted: tuple[str, ...]) -> None:
        """Mark steps that the run will never reach, and those that nobody will end any more."""
        cut = {"code": "interrupted", "message": "cut off; what it had made by then stays"}
        with self.transaction() as session:
            for key in never:
                session.execute(
                    update(StepRow).where(*self._is_step(key)).values(state="not-attempted")
                )
                self._event(session, "step.state", key, "not-attempted", {})
            for key in interrupted:
                session.execute(
                    update(StepRow)
                    .where(*self._is_step(key))
                    .values(
                        state="failed",
                        error_code=cut["code"],
                        error_message=cut["message"],
                        finished_at=func.clock_timestamp(),
                    )
                )
                self._event(session, "step.state", key, "failed", cut)

    def ask(self, gate: Gate) -> Hold | None:
        """Return what forbids a new effect now."""
        with self.transaction() as session:
            return gate(session, self.claim.boundary_id)

    # -- the journal of step contexts ---------------------------------------------------------

    def progress(self, step: str, kind: str, state: str | None, detail: dict[str, Any]) -> None:
        """Append an event in a transaction of its own."""
        with self.transaction() as session:
            self._event(session, kind, step, state, detail)

    def save_plan(self, document: dict[str, Any], digest: str) -> None:
        """Store the plan; a new digest voids an approval of another one."""
        with self.transaction() as session:
            session.execute(
                update(Run).where(*self._is_run()).values(plan=document, plan_digest=digest)
            )

    def approval(self) -> tuple[str | None, str | None, UUID | None]:
        """Return the plan's digest, the approved digest and the approver, as they stand now."""
        with self.transaction() as session:
            row = session.execute(
                select(Run.plan_digest, Run.approved_digest, Run.approved_by).where(*self._is_run())
            ).one()
        return row[0], row[1], row[2]

    # -- inside -------------------------------------------------------------------------------

    def _is_run(self) -> tuple[Any, ...]:
        return (Run.boundary_id == self.claim.boundary_id, Run.id == self.claim.run_id)

    def _is_step(self, key: str) -> tuple[Any, ...]:
        return (
            StepRow.boundary_id == self.claim.boundary_id,
            StepRow.run_id == self.claim.run_id,
            StepRow.key == key,
        )

    def _event(
        self,
        session: Session,
        kind: str,
        step: str | None,
        state: str | None,
        detail: dict[str, Any],
    ) -> None:
        events.append(
            session,
            organization_id=self.claim.organization_id,
            boundary_id=self.claim.boundary_id,
            run_id=self.claim.run_id,
            kind=kind,
            step=step,
            state=state,
            detail=detail,
        )

    def _audit(self, session: Session, ctx: OpContext, code: str, **detail: Any) -> None:
        audit.append(
            session,
            ctx,
            code,
            target=f"run/{self.claim.run_id}",
            boundary_id=self.claim.boundary_id,
            detail={**detail, "fence": self.claim.fence},
        )
