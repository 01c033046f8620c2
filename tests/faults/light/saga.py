"""The steps of the light programs: idempotent against a cloud that forgets to answer.

Executed in the worker processes. They keep the product's discipline (install-engine.md 1 and 3):
the intent is a fenced row before every effect, a client token carries a generation that rises only
after a confirmed deletion, an object without a token is searched for before it is made again, and
whoever takes a run over waits until the sessions of the worker before have ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic import BaseModel
from sqlalchemy import text

from controlplane.core.errors import UnavailableError
from controlplane.core.run_engine.definition import (
    Definition,
    Done,
    Forward,
    Park,
    Skip,
    Step,
    StepContext,
    StepResult,
    Undo,
)
from tests.faults.light.cloud import Line, NoAnswerError
from tests.faults.light.ledger import RefusedError
from tests.faults.light.program import MAX_ATTEMPTS, StepSpec, program

LOOK_SECONDS = 0.15
"""Pause between two searches that must both find nothing: longer than any program's lag."""
BUDGET_SECONDS = 30.0


class NoParams(BaseModel):
    """A light program is in its kind."""


Context = StepContext[NoParams, Line]


@dataclass(frozen=True)
class Intent:
    """The fenced row of a step: what it meant to do last."""

    phase: str
    """`creating`, `created`, `replacing`, `deleting`, `deleted`."""
    generation: int
    object_id: str | None


class Definitions(Mapping[str, Definition]):
    """All light programs, each made when it is asked for."""

    def __getitem__(self, kind: str) -> Definition:
        return definition(kind)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def definition(kind: str) -> Definition:
    """Return a program as the engine takes it."""
    steps = tuple(
        Step(
            spec.key,
            spec.key,
            _forward(spec),
            _undo(spec) if spec.makes_objects and spec.phase == "work" else None,
            spec.after,
            spec.phase,
            spec.planning,
            BUDGET_SECONDS,
            max_attempts=MAX_ATTEMPTS,
        )
        for spec in program(kind).steps
    )
    return Definition(kind, NoParams, steps)


def _forward(spec: StepSpec) -> Forward:
    def forward(context: Context) -> StepResult:
        with visit(context, is_undo=False) as cloud:
            if spec.park is not None and not _passes(context, spec, cloud):
                retry_in = timedelta(seconds=0.1) if spec.park == "closing" else None
                return Park(spec.park, f"{spec.key} waits for a person", retry_in)
            if spec.is_skipped:
                return Skip("there is nothing to do")
            if spec.slow:
                context.wait(spec.slow)
            if spec.api is None:
                return Done()
            return Done({"object": _ensure(context, spec, cloud)})

    return forward


def _undo(spec: StepSpec) -> Undo:
    def undo(context: Context) -> None:
        with visit(context, is_undo=True) as cloud:
            intent = begin_removal(context)
            if intent is None or intent.phase == "deleted":
                return
            if intent.object_id is not None:
                found = [intent.object_id]
            else:
                found = [item["id"] for item in cloud.search(intent.generation)]
            for object_id in found:
                cloud.delete(object_id)
            if cloud.search(intent.generation):
                raise UnavailableError(f"{spec.key} is still there")
            record(context, "deleted", intent.generation, None)

    return undo


def _passes(context: Context, spec: StepSpec, cloud: Visit) -> bool:
    if spec.park != "awaiting-approval":
        return bool(cloud.ask("pass")["may"])
    if context.run.approved_digest and context.run.approved_digest == context.run.plan_digest:
        return True
    context.journal.save_plan({"program": context.run.kind}, f"sha256:{context.run.kind}")
    return False


def _ensure(context: Context, spec: StepSpec, cloud: Visit) -> str:
    """Bring exactly one good object about, whatever earlier attempts left."""
    before = begin_creation(context)
    if before.phase == "created" and before.object_id is not None:
        return before.object_id
    phase, generation = before.phase, before.generation
    while True:
        if phase == "replacing":
            _remove_failed(cloud, before.object_id, generation)
            generation += 1
            record(context, "creating", generation, None)
        made = _create(context, spec, cloud, generation, is_fresh=phase != "creating")
        if made["status"] == "ready":
            record(context, "created", generation, made["id"])
            return str(made["id"])
        record(context, "replacing", generation, made["id"])
        before = Intent("replacing", generation, made["id"])
        phase = "replacing"


def _create(
    context: Context, spec: StepSpec, cloud: Visit, generation: int, *, is_fresh: bool
) -> dict[str, Any]:
    """Make the object of a generation, or find the one that an earlier attempt made."""
    if spec.api == "token":
        return cloud.create(generation, f"{context.run.id}/{spec.key}/{generation}")
    found = [] if is_fresh else cloud.search(generation)
    return found[0] if found else cloud.create(generation, None)


def _remove_failed(cloud: Visit, object_id: str | None, generation: int) -> None:
    if object_id is not None:
        cloud.delete(object_id)
    if cloud.search(generation):
        raise UnavailableError("the failed object is still there")


# -- the fenced row -------------------------------------------------------------------------------

READ = text(
    "SELECT phase, generation, object_id FROM light_state"
    " WHERE boundary_id = :boundary AND run_id = :run AND key = :key"
)
WRITE = text(
    "INSERT INTO light_state (boundary_id, run_id, key, phase, generation, object_id)"
    " VALUES (:boundary, :run, :key, :phase, :generation, :object)"
    " ON CONFLICT (boundary_id, run_id, key) DO UPDATE SET phase = excluded.phase,"
    " generation = excluded.generation, object_id = excluded.object_id"
)


def begin_creation(context: Context) -> Intent:
    """Write the intent to create and return what the row said before; `none` when it is new."""
    with context.transaction() as session:
        row = session.execute(READ, _key(context)).one_or_none()
        if row is not None:
            return Intent(*row)
        session.execute(WRITE, {**_key(context), "phase": "creating", "generation": 1,
                                "object": None})  # fmt: skip
    return Intent("none", 1, None)


def begin_removal(context: Context) -> Intent | None:
    """Write the intent to delete and return what the row said before."""
    with context.transaction() as session:
        row = session.execute(READ, _key(context)).one_or_none()
        if row is None:
            return None
        intent = Intent(*row)
        if intent.phase != "deleted":
            session.execute(WRITE, {**_key(context), "phase": "deleting",
                                    "generation": intent.generation,
                                    "object": intent.object_id})  # fmt: skip
    return intent


def record(context: Context, phase: str, generation: int, object_id: str | None) -> None:
    """Write what is so now."""
    with context.transaction() as session:
        session.execute(WRITE, {**_key(context), "phase": phase, "generation": generation,
                                "object": object_id})  # fmt: skip


def _key(context: Context) -> dict[str, Any]:
    return {"boundary": context.run.boundary_id, "run": context.run.id, "key": context.step}


# -- the cloud, as one step calls it --------------------------------------------------------------


class Visit:
    """The calls of one execution of a step."""

    def __init__(self, context: Context, is_undo: bool) -> None:
        self._context = context
        self._is_undo = is_undo
        self._is_settled = context.fence == 1

    def ask(self, op: str, **more: Any) -> dict[str, Any]:
        """Make one call. Raises: UnavailableError, RefusedError for an expired session."""
        context = self._context
        try:
            return context.ports.ask(
                op=op, run=str(context.run.id), key=context.step, fence=context.fence,
                undo=self._is_undo, **more,
            )  # fmt: skip
        except NoAnswerError as error:
            raise UnavailableError(f"{op}: no answer") from error
        except RefusedError as error:
            if str(error) == "expired":
                raise
            raise UnavailableError(f"{op}: {error}") from error

    def create(self, generation: int, token: str | None) -> dict[str, Any]:
        """Make an object."""
        return self._with_session("create", generation=generation, token=token)

    def delete(self, object_id: str) -> None:
        """Delete an object; one that is gone is deleted."""
        self._with_session("delete", object=object_id)

    def search(self, generation: int) -> list[dict[str, Any]]:
        """Return the objects of a generation; only what is absent twice is absent."""
        self._settle()
        found: list[dict[str, Any]] = self.ask("find", generation=generation)["found"]
        if not found:
            self._context.wait(LOOK_SECONDS)
            found = self.ask("find", generation=generation)["found"]
        return found

    def _with_session(self, op: str, **more: Any) -> dict[str, Any]:
        self._settle()
        while True:
            self._context.check()
            session = self.ask("assume")["session"]
            # Asked again: a session that was got just before the lease ran out must not be used.
            self._context.check()
            try:
                return self.ask(op, session=session, **more)
            except RefusedError:
                continue  # it had expired

    def _settle(self) -> None:
        """Wait until no worker before this one can act in the cloud any more."""
        while not self._is_settled:
            left = float(self.ask("settle")["seconds"])
            if left <= 0:
                self._is_settled = True
            else:
                self._context.wait(left)


@contextmanager
def visit(context: Context, *, is_undo: bool) -> Iterator[Visit]:
    """Open an execution of a step in the ledger and close it, whatever comes of it."""
    opened = Visit(context, is_undo)
    opened.ask("enter")
    try:
        yield opened
    finally:
        with suppress(UnavailableError):
            opened.ask("leave")
