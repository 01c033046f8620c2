"""The end of our access, in the order of decision 4, and without an agent by decision 5.

Called by the steps `census`, `reach_close`, `power-off`, `role-delete`, `proof`, which run at the
end of every run: also of one that failed, was cancelled or was denied, after its unwind.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from controlplane.adapters.aws import census
from controlplane.core import audit
from controlplane.core.clock import now
from controlplane.core.errors import ForbiddenError, InternalError
from controlplane.core.run_engine.definition import Done, Park, Skip, StepResult
from controlplane.domains.grants import service as grants
from controlplane.sagas.provisioning import boundary
from controlplane.sagas.provisioning import cluster as cluster_door
from controlplane.sagas.provisioning.access import (
    Context,
    OpenRole,
    assume,
    current_role,
    open_account,
    output,
)
from controlplane.sagas.provisioning.updating import CLUSTER_TYPE
from controlplane.tables.access import GrantState
from controlplane.tables.installs import Install
from wire.bundle import CloseVerb


def is_taken_back(context: Context) -> bool:
    """Say whether the run destroyed what it had made, so that nothing of the install is left."""
    return context.run.is_unwound and context.params.unwinds


def take_census(context: Context) -> StepResult:
    """Count what of ours is left while we can still read it; each is expected or a finding."""
    if is_taken_back(context):
        # Only the roles are looked at, and anything of ours is a finding.
        return count_residue(context, {}, {})
    return count_residue(context, output(context, "foundation"), output(context, "cluster"))


def count_residue(
    context: Context, foundation: dict[str, Any], cluster: dict[str, Any]
) -> StepResult:
    """Count every trace of ours in what the two stacks gave, as far as they stand."""
    footprint = census.Footprint(
        cluster=cluster.get("cluster_name"),
        bucket=foundation.get("artifact_bucket"),
        key_arn=foundation.get("kms_key_arn"),
        vendor_account=context.ports.settings.vendor_account,
        system_namespace=context.params.system_namespace,
        is_guest=context.params.host is not None,
        guests=context.params.guests,
    )
    try:
        with open_account(context) as opened:
            items = context.ports.cloud.census(opened.account, footprint)
    except ForbiddenError as error:
        return Skip(f"the account cannot be read any more: {error.public_message}")
    findings = [item for item in items if not item.expected]
    for item in findings:
        context.progress(finding=item.name, kind=item.kind, reason=item.reason)
    return Done(
        {"residue": [item.model_dump(mode="json") for item in items], "findings": len(findings)}
    )


def shut_way_in(context: Context) -> StepResult:
    """Shut the way into the cluster and prove it, if there is a cluster."""
    closed = cluster_door.close_reach(context)
    if closed is None:
        return Skip("there is no cluster")
    return Done(
        {
            "closed_at": closed.closed_at.isoformat(),
            "proofs": [proof.model_dump(mode="json") for proof in closed.proofs],
            "way_in": closed.way_in.model_dump(mode="json"),
        }
    )


def remove_power(context: Context) -> StepResult:
    """Attach deny-all to our own role and see the last session denied."""
    role = current_role(context)
    try:
        last = assume(context, role)
    except ForbiddenError as error:
        _set_closing(context, role)
        return Skip(f"the role is closed already: {error.public_message}")
    account = context.ports.cloud.account(role.target, lambda: last)
    done = context.ports.cloud.power_off(account)
    _set_closing(context, role)
    return Done(
        {
            "removed_at": done.removed_at.isoformat(),
            "proof": done.proof.model_dump(mode="json"),
            "role_arn": role.target.role_arn,
            "grant_number": role.number,
        }
    )


def delete_role(context: Context) -> StepResult:
    """Let the agent delete the role; without one, wait for the customer or for the end of time."""
    role = current_role(context)
    if not context.run.is_unwound and boundary.has_agent(context):
        return _ask_agent(context, role)
    return _wait_for_end(context, role)


def end_role(context: Context) -> StepResult:
    """As `delete_role`, for runs that may end beside a living agent whatever their outcome.

    An agent that has been silent, or whose cluster the run saw to be gone, is not waited for: the
    customer or the time ends the role then.
    """
    role = current_role(context)
    if may_answer(context):
        return _ask_agent(context, role)
    return _wait_for_end(context, role)


def may_answer(context: Context) -> bool:
    """Say whether an agent is worth asking: it spoke lately, and its cluster is not known gone."""
    return boundary.has_live_agent(context) and not _saw_cluster_gone(context)


def _saw_cluster_gone(context: Context) -> bool:
    """Say whether this run found the cluster gone: an agent spoke in it just before, maybe.

    A restore found so in its plan, until it made the cluster anew; a scan of the drift found it;
    a run that ended before its plan looked at its close.
    """
    if output(context, "census").get("cluster_gone", False):
        return True
    if output(context, "plan").get("cluster_anew", False):
        return "cluster" not in context.outputs
    return any(
        item["type"] == CLUSTER_TYPE and item["change"] == "deleted"
        for item in output(context, "scan").get("findings", ())
    )


def _ask_agent(context: Context, role: OpenRole) -> StepResult:
    result = boundary.ask(
        context, CloseVerb(grant_number=role.number, role_name=role.target.role_name)
    )
    if result.close is None or not result.close.role_deleted:
        raise InternalError(f"the agent answered without deleting {role.target.role_name}")
    absent = result.close.role_absent_at
    return Done(
        {
            "closed_by": "agent",
            "detached": list(result.close.detached),
            "role_deleted_at": absent.isoformat() if absent else None,
        }
    )


def _wait_for_end(context: Context, role: OpenRole) -> StepResult:
    """Probe once; the scheduler brings the run back until access has ended (decision 5)."""
    context.check()
    probe = context.ports.sessions.probe(
        role.target.role_arn, role.target.external_id, region=role.target.region
    )
    if not probe.allowed:
        ended_by = "expiry" if role.remaining <= timedelta(0) else "customer"
        return Done(
            {"closed_by": ended_by, "role_deleted_at": None, "seen_at": probe.at.isoformat()}
        )
    # A grant may last hours: after the first minutes nobody waits for the second.
    patience = 1 if context.attempt <= 20 else 4
    return Park(
        "closing",
        f"our power is gone; {role.target.role_name} still exists until the customer deletes it or "
        f"{role.grant_until.isoformat(timespec='seconds')}",
        retry_in=timedelta(seconds=context.ports.settings.close_probe_seconds * patience),
    )


def prove_closed(context: Context) -> StepResult:
    """See AssumeRole denied, and record the grant as closed with the proof."""
    role = current_role(context)
    proof = context.ports.cloud.prove_no_entry(
        role.target, succeeded_before=bool(output(context, "power-off"))
    )
    closed_by = output(context, "role-delete").get("closed_by", "customer")
    with context.transaction() as session:
        grants.end(session, context.ctx, role.grant_id, GrantState.CLOSED, closed_by=closed_by)
        set_axes(session, context, access="closed")
    return Done({"proof": proof.model_dump(mode="json"), "closed_by": closed_by})


def _set_closing(context: Context, role: OpenRole) -> None:
    with context.transaction() as session:
        if role.state == GrantState.ACTIVE:
            grants.end(session, context.ctx, role.grant_id, GrantState.CLOSING)
        set_axes(session, context, access="closing")


def set_axes(session: Any, context: Context, **axes: str) -> None:
    """Write status axes of the install, with the audit record, when they change."""
    install = session.get(Install, (context.run.boundary_id, context.params.install_id))
    if install is None:
        return
    changed = {key: value for key, value in axes.items() if getattr(install, key) != value}
    if not changed:
        return
    for key, value in changed.items():
        setattr(install, key, value)
    install.updated_at = now()
    audit.append(
        session,
        context.ctx,
        "install.changed",
        target=f"install/{install.id}",
        boundary_id=context.run.boundary_id,
        detail=changed,
    )


def parse_time(text: str | None) -> datetime | None:
    """Return a time that a step's output holds."""
    return datetime.fromisoformat(text) if text else None
