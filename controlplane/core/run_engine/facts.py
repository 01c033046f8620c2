"""A run and its steps as rows say they are, detached from the session.

Read by `store` for the executor, and by whoever needs to act in the requester's name. Separate from
the writes of `store`, which are fenced.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from controlplane.core.actor import Actor, OpContext
from controlplane.core.db import Scope
from controlplane.core.run_engine.definition import RunView
from controlplane.core.run_engine.fence import Claim
from controlplane.core.run_engine.tables import Run
from wire.run_event import RunState, StepState


@dataclass(frozen=True)
class StepFacts:
    """A step's row, detached."""

    state: StepState
    attempt: int
    failures: int
    output: dict[str, Any] | None


@dataclass(frozen=True)
class RunFacts:
    """A run and its steps as read in one statement."""

    view: RunView
    state: RunState
    ctx: OpContext
    params: dict[str, Any]
    cancel_requested: bool
    cancel_keeps: bool
    pause_reason: str | None
    """Set while a person wants the run to pause."""
    requests: str
    """Stands for what people have asked of the run so far; another text once they asked more."""
    steps: dict[str, StepFacts]


def facts_of(read: dict[str, Any], claim: Claim) -> RunFacts:
    """Return what the function `run_facts` read of a claimed run and its steps, in their order."""
    view = RunView(
        id=claim.run_id,
        organization_id=claim.organization_id,
        boundary_id=claim.boundary_id,
        install_id=UUID(read["install_id"]) if read["install_id"] else None,
        kind=read["kind"],
        fence=claim.fence,
        outcome=read["outcome"],
        at_fault=read["at_fault"],
        plan_digest=read["plan_digest"],
        approved_digest=read["approved_digest"],
        requested_by=UUID(read["requested_by"]),
    )
    return RunFacts(
        view=view,
        state=read["state"],
        ctx=_context(view.requested_by, read["actor"], read["request_id"], claim.scope),
        params=read["params"],
        cancel_requested=read["cancel_requested"],
        cancel_keeps=read["cancel_keeps"],
        pause_reason=read["pause_reason"],
        requests=read["requests"],
        steps={key: StepFacts(*rest) for key, *rest in read["steps"]},
    )


def context_of(run: Run) -> OpContext:
    """Return the context of the person who asked for the run, narrowed to its boundary."""
    scope = Scope.boundary(run.organization_id, run.boundary_id)
    return _context(run.requested_by, run.actor, run.request_id, scope)


def _context(requested_by: UUID, actor: dict[str, Any], request_id: str, scope: Scope) -> OpContext:
    organization = actor.get("organization_id")
    return OpContext(
        actor=Actor(
            principal_id=requested_by,
            issuer=actor["issuer"],
            subject=actor["subject"],
            kind=actor["kind"],
            organization_id=UUID(organization) if organization else None,
            display=actor["display"],
            person_key=actor.get("person_key"),
        ),
        request_id=request_id,
        scope=scope,
    )
