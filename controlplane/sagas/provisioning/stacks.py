"""Plan, apply and destroy the blueprint's stacks, and keep each apply within what was approved.

Called by the steps `plan`, `foundation`, `cluster`. Each opens an engine of its own under the run's
fence; the state's trigger refuses any engine of an earlier fence.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from controlplane.adapters.aws.account import Account
from controlplane.adapters.pulumi import constraint
from controlplane.adapters.pulumi.engine import EngineRun, EngineSession, StackProgram
from controlplane.adapters.pulumi.errors import EngineStoppedError, StaleFenceError
from controlplane.adapters.pulumi.messages import EngineEvent, ProgramRef, Result
from controlplane.adapters.pulumi.recovery import NeedsAttentionError
from controlplane.core.errors import ConflictError
from controlplane.core.run_engine.definition import LeaseLostError, Park, ParkedError
from controlplane.sagas.provisioning.access import Context, open_account, output
from controlplane.tables.installs import Install

# The engine reports every resource of a stack; these states are what people watch.
_SHOWN = {
    "resource.started": "started",
    "resource.done": "done",
    "resource.failed": "failed",
}
_MAX_DIFFERENCES = 20
_ENGINES_OWN = ("pulumi:pulumi:", "pulumi:providers:")


_recovered: set[tuple[UUID, int]] = set()
"""(run, fence) whose state this process has recovered; once per claim is enough."""


@contextmanager
def engine(context: Context) -> Iterator[EngineSession]:
    """Open an engine under the run's fence, after what an earlier one left was put in order.

    Raises: ParkedError when it is unclear whether a resource exists; LeaseLostError.
    """
    with engine_and_account(context) as (session, _):
        yield session


@contextmanager
def engine_and_account(context: Context) -> Iterator[tuple[EngineSession, Account]]:
    """As `engine`, with the account beside it for reads that no engine makes."""
    run, params, ports = context.run, context.params, context.ports
    ports.state.ensure(run.boundary_id)
    with open_account(context) as opened:
        engine_run = EngineRun(
            boundary_id=run.boundary_id,
            run_id=run.id,
            fence=run.fence,
            project=params.project,
            region=params.region,
            credentials=opened.endpoint,
        )
        try:
            ports.state.claim(run.boundary_id, run.id, run.fence)
            _recover(context, engine_run, opened.account)
            with ports.engine.open(engine_run) as session:
                yield session, opened.account
        except StaleFenceError as error:
            raise LeaseLostError(error.public_message) from error
        except EngineStoppedError:
            # It was stopped because the step was told to stop: then that is the reason.
            context.check()
            raise


def _recover(context: Context, engine_run: EngineRun, account: Account) -> None:
    claim = (context.run.id, context.run.fence)
    if claim in _recovered:
        return
    names = [stack.name for stack in context.params.stacks]
    try:
        report = context.ports.recovery.run(engine_run, names, account)
    except NeedsAttentionError as error:
        raise ParkedError(Park("needs-attention", error.public_message)) from error
    _recovered.add(claim)
    if report.was_needed:
        context.log(
            message="an engine that did not end in order was recovered",
            killed=report.killed,
            adopted=report.adopted,
            dropped=report.dropped,
            locks_cleared=report.locks_cleared,
        )


def program(context: Context, stack: str, upstream: dict[str, Any] | None) -> StackProgram:
    """Return what to run for a stack of the blueprint."""
    return StackProgram(
        stack=stack,
        program=ProgramRef(
            root=str(context.ports.settings.blueprints_root),
            entry=context.params.stack(stack).entry,
        ),
        inputs=context.params.inputs,
        upstream=upstream,
    )


def make_plan(context: Context) -> tuple[dict[str, Any], str]:
    """Preview every stack and return the plan's document and its digest."""
    previews: list[Result] = []
    with engine(context) as session:
        for stack in context.params.stacks:
            context.check()
            context.progress(message=f"previewing {stack.name}")
            previews.append(session.preview(program(context, stack.name, None), quiet(context)))
    built = constraint.build(previews)
    document = {
        "constraint": built.model_dump(mode="json"),
        "counts": built.counts(),
        "holes": built.holes(),
        "blueprint": context.params.blueprint,
        "blueprint_version": context.params.blueprint_version,
        "blueprint_digest": context.params.blueprint_digest,
        "seconds_p90": context.params.p90_seconds,
        # What people are shown beside it (domains/runs/plan_view.py).
        "changes": constraint.changes(previews),
        "time_scale": context.params.time_scale,
        "region": context.params.region,
        "shared": context.params.shared(),
    }
    return document, built.digest


def apply_stack(
    context: Context, stack: str, upstream: dict[str, Any] | None, *, refresh: bool = False
) -> Park | Result:
    """Apply one stack if a fresh preview satisfies what was approved; else ask again.

    With `refresh` both start from what the account holds, not from what the state remembers.
    """
    approved = constraint.PlanConstraint.model_validate(output(context, "plan")["constraint"])
    target = program(context, stack, upstream)
    with engine(context) as session:
        fresh = session.preview(target, quiet(context), refresh=refresh)
        found = constraint.satisfies(approved, fresh)
        if found:
            for violation in found[:_MAX_DIFFERENCES]:
                context.progress(
                    violation=violation.rule, urn=violation.urn, message=violation.message
                )
            return Park(
                "needs-attention",
                f"{len(found)} point(s) of stack {stack} differ from the approved plan, first: "
                f"{found[0].message}",
            )
        context.check()
        context.ports.state.snapshot(context.run.boundary_id, context.run.id, f"before {stack}")
        applied = session.up(target, shown(context), refresh=refresh)
    if not applied.complete:
        context.log(message=f"the log of {stack} is incomplete: fewer events than resources")
    if left := _strays(context):
        return Park("needs-attention", f"{left}; then retry the run")
    return applied


def destroy_stack(context: Context, stack: str) -> None:
    """Destroy one stack if its state knows it, but nothing that an earlier removal had retained.

    Raises: ConflictError when something else is left.
    """
    run, params = context.run, context.params
    context.ports.state.ensure(run.boundary_id)
    if not context.ports.state.has_stack(run.boundary_id, params.project, stack):
        return
    with engine(context) as session:
        before = session.export(stack)
        retained = _retained_ids(context)
        keep = {r["urn"] for r in resources_of(before) if r.get("id") in retained}
        if protect(before, keep):
            session.import_state(stack, before)
        session.destroy(stack, shown(context), keep_protected=bool(keep))
        left = [r["urn"] for r in resources_of(session.export(stack)) if r["urn"] not in keep]
    if left:
        raise ConflictError(
            f"stack {stack} still holds {len(left)} resource(s) after its destruction: {left[0]}",
            code="residue",
        )
    if left_over := _strays(context):
        raise ConflictError(
            f"stack {stack} is destroyed, but {left_over}; then unwind again", code="residue"
        )


def _strays(context: Context) -> str:
    """Name what carries this install's tags and no state knows, and how to delete it."""
    with open_account(context) as opened:
        found, named = find_strays(context, opened.account)
    if not found:
        return ""
    return (
        f"{found} object(s) of this install were made a second time by a call whose answer "
        f"was lost, and no state knows them: delete {named}"
    )


def find_strays(context: Context, account: Account) -> tuple[int, str]:
    """Count what carries this install's tags and no state knows; show each, name the first."""
    run, params = context.run, context.params
    known = context.ports.state.identifiers(run.boundary_id, params.project)
    found = context.ports.cloud.strays(account, str(params.install_id), known)
    for one in found:
        context.progress(stray=one.id, made_for=one.made_for, remedy=one.delete_call)
    named = ", ".join(f"{one.id} ({one.made_for}: {one.delete_call})" for one in found[:10])
    return len(found), named


def _retained_ids(context: Context) -> set[str]:
    with context.transaction() as session:
        install = session.get(Install, (context.run.boundary_id, context.params.install_id))
        return {item["id"] for item in install.retained} if install is not None else set()


def resources_of(deployment: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the resources of an exported state without what the engine keeps for itself."""
    inner = deployment.get("deployment", deployment)
    return [r for r in inner.get("resources") or [] if not r["type"].startswith(_ENGINES_OWN)]


def protect(deployment: dict[str, Any], keep: set[str]) -> bool:
    """Mark in an exported state what stays, and nothing else; say whether that changed it."""
    changed = False
    for resource in resources_of(deployment):
        wanted = resource["urn"] in keep
        if bool(resource.get("protect", False)) != wanted:
            resource["protect"] = wanted
            changed = True
    return changed


def shown(context: Context) -> Any:
    """Return a reader of engine events that shows resources, and stops with the step."""

    def read(event: EngineEvent) -> None:
        context.check()
        if event.event in _SHOWN and event.urn is not None:
            context.resource(
                _SHOWN[event.event],
                stack=event.stack,
                urn=event.urn,
                type=event.type,
                op=event.op,
            )
        elif event.event == "diagnostic" and event.severity in ("warning", "error"):
            context.log(severity=event.severity, message=event.message, urn=event.urn)

    return read


def quiet(context: Context) -> Any:
    """Return a reader that shows nothing and stops with the step."""

    def read(event: EngineEvent) -> None:
        context.check()

    return read
