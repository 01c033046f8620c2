"""Bring the engine's state to what the account holds, and plan what of the install is missing.

Called by the steps of `install_restore`, and `let_go` by the two applies of `standing`. Separate
from `updating`, which trusts the state: here the state may be lost or older than the account, and
what is missing may be much. Nothing here changes the account; only the record of it is written,
and what it was before is put aside first.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, ClassVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from controlplane.adapters.aws.account import Account
from controlplane.adapters.pulumi import restoration
from controlplane.adapters.pulumi.engine import EngineSession
from controlplane.adapters.pulumi.errors import StaleFenceError
from controlplane.adapters.pulumi.recovery import Attention
from controlplane.adapters.pulumi.restoration import Adopted
from controlplane.core import audit
from controlplane.core.audit import AuditEvent
from controlplane.core.errors import ConflictError
from controlplane.core.run_engine.definition import (
    Done,
    LeaseLostError,
    Park,
    ParkedError,
    RunView,
    StepResult,
)
from controlplane.core.run_engine.tables import Run
from controlplane.sagas.provisioning import boundary, stacks, updating
from controlplane.sagas.provisioning.access import Context, output
from controlplane.sagas.provisioning.ports import Ports
from controlplane.sagas.provisioning.updating import CLUSTER_TYPE, UpdateParams
from wire.certificate import Operation

SAVED = "before restore"
_ROUNDS = 8
"""Ids of parents are known one generation after the other; no blueprint has as many."""
_KEPT = frozenset({"same", "update"})
_MAX_NAMED = 10


class RestoreParams(UpdateParams):
    """From which record an install is restored."""

    operation: ClassVar[Operation] = "restore"

    snapshot: int | None
    """Of the state; None for the present one."""
    empty: bool
    """Begin without any record."""


def complete(session: Session, run: RunView, raw: dict[str, Any], ports: Ports) -> RestoreParams:
    """Return the full parameters. Raises: NotFoundError naming what is missing."""
    base = updating.complete(session, run, raw, ports)
    return RestoreParams(
        **{name: getattr(base, name) for name in UpdateParams.model_fields},
        snapshot=raw.get("snapshot"),
        empty=bool(raw.get("empty", False)),
    )


# ---- The record -----------------------------------------------------------------------------


def put_back(context: Context) -> StepResult:
    """Put the present record aside, then take the one that was chosen.

    Raises: NotFoundError for a snapshot that is not there; ConflictError `state-damaged`.
    """
    run, params, state = context.run, _params(context), context.ports.state
    state.ensure(run.boundary_id)
    try:
        state.claim(run.boundary_id, run.id, run.fence)
        saved = _save(context)
        if params.snapshot is None and not params.empty:
            _require_readable(context)
            return Done({"source": "present", "saved": saved, "stacks": []})
        put = state.put_back(run.boundary_id, run.id, run.fence, params.snapshot)
    except StaleFenceError as error:
        raise LeaseLostError(error.public_message) from error
    _record(
        context, "install.state-restored",
        snapshot=params.snapshot, saved=saved, stacks=sorted(put),
    )  # fmt: skip
    source = "empty" if params.empty else f"snapshot {params.snapshot}"
    return Done({"source": source, "saved": saved, "stacks": sorted(put)})


def _save(context: Context) -> int | None:
    """Put the present state aside, once a run; return its number, None when there is no state."""
    run, state = context.run, context.ports.state

    def own() -> int | None:
        made = state.snapshots(run.boundary_id)
        return next((s.number for s in made if s.run_id == run.id and s.label == SAVED), None)

    if (saved := own()) is not None:
        return saved
    return own() if state.snapshot(run.boundary_id, run.id, SAVED) else None


def _require_readable(context: Context) -> None:
    run, params = context.run, context.params
    for stack in params.stacks:
        try:
            context.ports.state.read_stack(run.boundary_id, params.project, stack.name)
        except (ValueError, KeyError) as error:
            raise ConflictError(
                f"the state of {stack.name} cannot be read",
                code="state-damaged",
                field="snapshot",
                fix="restore from a snapshot (ringfence install snapshots), or from nothing with"
                " --empty",
            ) from error


# ---- Adoption -------------------------------------------------------------------------------


def adopt(context: Context) -> StepResult:
    """Take into the state what the account holds of the install and the state does not know."""
    adopted = 0
    upstream: dict[str, Any] | None = None
    with stacks.engine_and_account(context) as (session, account):
        for stack in context.params.stacks:
            found, upstream = _adopt_stack(context, session, account, stack.name, upstream)
            adopted += found
        unknown, named = stacks.find_strays(context, account)
    if unknown:
        return Park(
            "needs-attention",
            f"{unknown} object(s) carry this install's tags and are not of the blueprint: delete "
            f"{named}, or take them out of the install by their tags; then retry the run",
        )
    return Done({"adopted": adopted})


def _adopt_stack(
    context: Context,
    session: EngineSession,
    account: Account,
    stack: str,
    upstream: dict[str, Any] | None,
) -> tuple[int, dict[str, Any]]:
    """Adopt round by round, until a look finds nothing more; return how many, and the outputs."""
    run, params = context.run, context.params
    target = stacks.program(context, stack, upstream)
    adopted = 0
    for _ in range(_ROUNDS):
        context.check()
        context.progress(message=f"looking in the account for what {stack} should have")
        exported = context.ports.state.export_stack(run.boundary_id, params.project, stack)
        known = bool(exported and stacks.resources_of(exported))
        preview = session.preview(target, stacks.quiet(context), refresh=known)
        looked = context.ports.cloud.look_up(account, preview.plan)
        if looked.unclear:
            raise ParkedError(_attention(looked.unclear))
        if not looked.found and not (exported and restoration.lacks_inputs(exported, preview)):
            return adopted, preview.outputs
        _wait_until_settled(context, account, looked.found)
        for item in looked.found:
            _tell_adopted(context, stack, item)
        session.import_state(
            stack, restoration.write_into(session.export(stack), preview, looked.found)
        )
        adopted += len(looked.found)
    raise ConflictError(
        f"the account shows another object of {stack} at each of {_ROUNDS} looks",
        code="unsettled-account",
        fix="wait until nobody else changes the account, then restore again",
    )


def _tell_adopted(context: Context, stack: str, item: Adopted) -> None:
    """Record the decision before it is carried out: one that is carried out is always recorded."""
    urn, kind = item.resource.urn, item.resource.type
    _record(context, "install.resource-adopted", stack=stack, urn=urn, type=kind, id=item.id)
    context.resource("adopted", stack=stack, urn=urn, type=kind, id=item.id)


def _attention(unclear: Sequence[Attention]) -> Park:
    named = "; ".join(
        f"{one.urn.rsplit('::', 1)[-1]}: {one.reason} ({one.call})" for one in unclear[:_MAX_NAMED]
    )
    return Park(
        "needs-attention",
        f"it is unclear what the account holds of {len(unclear)} resource(s): {named}; make the"
        " named calls, settle it in the account, then retry the run",
    )


def _wait_until_settled(context: Context, account: Account, found: Sequence[Adopted]) -> None:
    began = time.monotonic()
    while making := context.ports.cloud.unsettled(account, found):
        if time.monotonic() - began > context.budget_seconds:
            raise ParkedError(
                Park("needs-attention", f"{making} is still being made; then retry the run")
            )
        context.wait(context.ports.settings.poll_seconds)


# ---- Plan -----------------------------------------------------------------------------------


def make_plan(context: Context) -> tuple[dict[str, Any], str, dict[str, Any]]:
    """Plan what is missing or otherwise; return document, digest, and facts for the steps.

    What is gone is planned anew however much it is: each was asked for by name, and the plan
    names it. Raises: InvalidRequestError `would-replace`.
    """
    params = _params(context)
    document, digest, facts = updating.make_plan(context, may_be_lost=True)
    told = _told(context, document["constraint"]["stacks"])
    anew = any(
        item["op"] == "create" and item["type"] == CLUSTER_TYPE
        for items in document["constraint"]["stacks"].values()
        for item in items
    )
    # An adopted record lacks what only the program tells, until its stack is applied once.
    idle = [s for s in facts["idle"] if all(item["stack"] != s for item in told["adopted"])]
    seconds = sum(stack.p90 for stack in params.stacks if stack.name not in idle)
    changed = {**document["update"], "release": document["update"]["release"] or anew}
    document |= {"kind": "restore", "seconds_p90": seconds, "update": changed, "restore": told}
    facts |= {
        "idle": idle,
        "seconds_p90": seconds,
        "nothing": facts["nothing"] and len(idle) == len(params.stacks),
        "lost": told["lost"],
        "cluster_anew": anew,
    }
    return document, digest, facts


def _told(context: Context, planned: dict[str, Any]) -> dict[str, Any]:
    """Say where the record came from, what was adopted, what is lost, and what stays."""
    run, params = context.run, _params(context)
    adopted, lost, kept = [], [], []
    for stack in params.stacks:
        exported = context.ports.state.export_stack(run.boundary_id, params.project, stack.name)
        operations = {item["urn"]: item["op"] for item in planned.get(stack.name, ())}
        for record in stacks.resources_of(exported) if exported else ():
            if not record.get("id"):
                continue
            reason = _retained(params, stack.name, record["type"])
            item = _item(stack.name, record, reason)
            if operations.get(record["urn"]) == "create":
                lost.append(item)
                continue
            if restoration.is_adopted(record):
                adopted.append(item)
            if reason and operations.get(record["urn"]) in _KEPT:
                kept.append(item)
    return {**output(context, "state"), "adopted": adopted, "lost": lost, "kept": kept}


def _item(stack: str, record: dict[str, Any], reason: str) -> dict[str, Any]:
    return {
        "stack": stack,
        "urn": record["urn"],
        "type": record["type"],
        "name": record["urn"].rsplit("::", 1)[-1],
        "id": record["id"],
        "reason": reason,
    }


def _retained(params: UpdateParams, stack: str, kind: str) -> str:
    """Return why the customer keeps such a resource; empty for one that only the install needs."""
    found = (r.reason for r in params.retentions if r.stack == stack and kind in r.types)
    return next(found, "")


# ---- Apply ----------------------------------------------------------------------------------


def let_go(context: Context, stack: str) -> None:
    """Before an apply, record what the approved plan gives up as lost, and the agent with it.

    The agent of a cluster that is gone speaks no more: the new one's gets a token of its own.
    """
    planned = output(context, "plan")
    for item in planned.get("lost", ()):
        if item["stack"] == stack:
            facts = {key: item[key] for key in ("stack", "urn", "type", "id")}
            _record(context, "install.resource-dropped", **facts)
    if stack == "cluster" and planned.get("cluster_anew", False):
        boundary.forget_agent(context)


def _record(context: Context, code: str, **detail: Any) -> None:
    """Append what was decided, once a run: a step that runs again decides the same again."""
    run = context.run
    facts = {"run_id": str(run.id), **detail}
    with context.transaction() as session:
        begun = select(Run.created_at).where(Run.id == run.id).scalar_subquery()
        told = session.execute(
            select(AuditEvent.seq).where(
                AuditEvent.chain_id == run.boundary_id,
                AuditEvent.at >= begun,
                AuditEvent.code == code,
                AuditEvent.detail == facts,
            )
        ).first()
        if told is not None:
            return
        audit.append(
            session,
            context.ctx,
            code,
            target=f"install/{context.params.install_id}",
            boundary_id=run.boundary_id,
            detail=facts,
        )


def _params(context: Context) -> RestoreParams:
    assert isinstance(context.params, RestoreParams)
    return context.params
