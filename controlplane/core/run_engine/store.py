"""A worker's writes to one run, all of them under its fence.

Called by the executor and, as `Journal`, by step contexts. Separate from the executor so that every
statement that must be fenced is in one file. What the engine writes itself is one statement per
transaction (`record`): the function `run_record` locks the run, compares the fence, and writes
rows, events and audit records. Other transactions first lock the run's row and compare the fence
here. The database's triggers check it a second time in both.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel
from sqlalchemy import Connection, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from controlplane.core import audit
from controlplane.core.actor import OpContext
from controlplane.core.db import Database
from controlplane.core.run_engine import events
from controlplane.core.run_engine.changes import Change, Told
from controlplane.core.run_engine.definition import (
    Definition,
    Gate,
    Hold,
    LeaseLostError,
    QuickGate,
    seconds,
)
from controlplane.core.run_engine.facts import RunFacts, facts_of
from controlplane.core.run_engine.fence import Claim, hold, is_fence_refusal
from controlplane.core.run_engine.tables import Run

_IDS = "%(organization)s, %(boundary)s, %(run)s, %(fence)s"
_FACTS = f"SELECT run_facts({_IDS})"
_BEGIN = f"SELECT run_begin({_IDS}, %(params)s::jsonb, %(steps)s::jsonb)"
_RECORD = f"SELECT run_record({_IDS}, %(seen)s, %(gated)s, %(changes)s::jsonb)"


@dataclass(frozen=True)
class Recorded:
    """What came of a `record`."""

    facts: RunFacts
    """The run with the changes that were written, and with what people have asked of it."""
    began: bool
    """Whether the changes that begin something were written."""
    hold: Hold | None
    """Why the gate let nothing begin."""


class RunStore:
    """The rows of one claimed run."""

    def __init__(self, db: Database, claim: Claim) -> None:
        self._db = db
        self.claim = claim

    @contextmanager
    def announced(self) -> Iterator[Session]:
        """Open a transaction that announces the fence; a write of it may find the lease lost.

        Raises: LeaseLostError.
        """
        with self._refused(), self._db.transaction(self.claim.scope, self.claim.fence) as session:
            yield session

    @contextmanager
    def _refused(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            if is_fence_refusal(error):
                raise LeaseLostError(
                    f"run {self.claim.run_id}: the database refused fence {self.claim.fence}"
                ) from error
            raise

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Open a fenced transaction scoped to the run's boundary. Raises: LeaseLostError."""
        with self.announced() as session:
            hold(session, self.claim)
            yield session

    def load(self) -> RunFacts:
        """Read the run and its steps: once per claim, since only their holder changes them.

        Raises: LeaseLostError.
        """
        with self._one_statement() as connection:
            read = self._call(connection, _FACTS, {})
        if read is None:
            raise LeaseLostError(f"run {self.claim.run_id} is not there")
        return facts_of(read, self.claim)

    def add_steps(self, definition: Definition, facts: RunFacts, ports: Any) -> BaseModel:
        """Complete the parameters and write a row per step on the first claim; return them."""
        if definition.complete is None:
            params = definition.params.model_validate(facts.params)
            with self._one_statement() as connection:
                self._call(connection, _BEGIN, _first_rows(definition, params))
            return params
        with self.transaction() as session:
            params = definition.complete(session, facts.view, facts.params, ports)
            self._call(session, _BEGIN, _first_rows(definition, params))
        return params

    def record(
        self, facts: RunFacts, made: Sequence[Change], *, gate: Gate | None = None
    ) -> Recorded:
        """Write changes in one transaction, in their order. Raises: LeaseLostError.

        Those that begin something (`Change.starts`) are left out when `gate` forbids it, or when a
        person has asked for something since `facts` were read.
        """
        if gate is None or isinstance(gate, QuickGate):
            with self._one_statement() as connection:
                answer = self._send(connection, facts, made, gated=gate is not None)
            recorded = _recorded(facts, made, answer, None)
            if gate is None or not answer["asks_gate"]:
                return recorded
            # What begins nothing is written.
            facts, made = recorded.facts, [change for change in made if change.starts]
        with self.announced() as session:
            held = gate(session, self.claim.boundary_id)
            if held is not None:
                made = [change for change in made if not change.starts]
            answer = self._send(session, facts, made)
        return _recorded(facts, made, answer, held)

    @contextmanager
    def _one_statement(self) -> Iterator[Connection | Session]:
        """Give a connection for one statement that is a transaction. Raises: LeaseLostError."""
        with self._refused(), self._db.statements() as connection:
            yield connection

    def _send(
        self,
        on: Connection | Session,
        facts: RunFacts,
        made: Sequence[Change],
        *,
        gated: bool = False,
    ) -> dict[str, Any]:
        shapes = [self._shape(facts.ctx, change) for change in made]
        return self._run_record(on, facts.requests, shapes, gated=gated)

    def _run_record(
        self,
        on: Connection | Session,
        seen: str | None,
        shapes: list[dict[str, Any]],
        *,
        gated: bool = False,
    ) -> dict[str, Any]:
        rest = {"seen": seen, "gated": gated, "changes": json.dumps(shapes)}
        answer: dict[str, Any] = self._call(on, _RECORD, rest)
        return answer

    def _call(self, on: Connection | Session, function: str, rest: dict[str, Any]) -> Any:
        """Call a function of the migrations, past the compiler that would look at it each time."""
        connection = on if isinstance(on, Connection) else on.connection()
        claim = self.claim
        ids = (claim.organization_id, claim.boundary_id, claim.run_id, claim.fence)
        given = dict(zip(("organization", "boundary", "run", "fence"), ids, strict=True))
        return connection.exec_driver_sql(function, {**given, **rest}).scalar_one()

    def _shape(self, ctx: OpContext, change: Change) -> dict[str, Any]:
        """Return a change in the form that `run_record` reads."""
        shape = _shape_of_event(change)
        if change.row is not None:
            shape["row"] = change.row
        if change.run is not None:
            shape["run"] = change.run
        if change.audit is not None:
            code, detail = change.audit
            shape["audit"] = self._audit(ctx, code, detail)
        return shape | {flag: True for flag in ("starts", "timed") if getattr(change, flag)}

    def _audit(self, ctx: OpContext, code: str, detail: Mapping[str, Any]) -> dict[str, Any]:
        return audit.prepare(
            ctx,
            code,
            target=f"run/{self.claim.run_id}",
            boundary_id=self.claim.boundary_id,
            detail={**detail, "fence": self.claim.fence},
        )

    # -- the journal of step contexts ---------------------------------------------------------

    def progress(self, step: str, kind: str, state: str | None, detail: dict[str, Any]) -> None:
        """Append an event in a transaction of its own."""
        shape = _shape_of_event(Change("progress", step, event=Told(kind, state, detail)))
        with self._one_statement() as connection:
            self._run_record(connection, None, [shape])

    def save_plan(self, document: dict[str, Any], digest: str) -> None:
        """Store the plan; a new digest voids an approval of another one."""
        with self.transaction() as session:
            session.execute(
                update(Run)
                .where(Run.boundary_id == self.claim.boundary_id, Run.id == self.claim.run_id)
                .values(plan=document, plan_digest=digest)
            )


def _first_rows(definition: Definition, params: BaseModel) -> dict[str, Any]:
    """Return what `run_begin` takes: the run's full parameters and a row per step."""
    steps = [
        {
            "key": step.key,
            "title": step.title,
            "phase": step.phase,
            "skippable": step.skippable,
            "after": list(step.after),
            "budget_seconds": seconds(step.budget, params),
            "estimate_seconds": seconds(step.estimate, params),
        }
        for step in definition.steps
    ]
    return {"params": json.dumps(params.model_dump(mode="json")), "steps": json.dumps(steps)}


def _shape_of_event(change: Change) -> dict[str, Any]:
    shape: dict[str, Any] = {"step": change.step}
    if change.event is not None:
        shape["kind"] = change.event.kind
        shape["shown"] = change.event.state
        shape["detail"] = events.without_secrets(change.event.detail)
    return shape


def _recorded(
    facts: RunFacts, made: Sequence[Change], answer: dict[str, Any], held: Hold | None
) -> Recorded:
    """Return what came of it, by what `run_record` answered."""
    began = answer["is_current"] and not answer["asks_gate"]
    for change in made:
        if began or not change.starts:
            facts = change.seen_in(facts)
    of_view = ("outcome", "at_fault", "plan_digest", "approved_digest")
    of_run = ("state", "cancel_requested", "cancel_keeps", "pause_reason", "requests")
    facts = replace(
        facts,
        view=replace(facts.view, **{name: answer[name] for name in of_view}),
        **{name: answer[name] for name in of_run},
    )
    return Recorded(facts, began and held is None, held)
