"""What runs share that bring a standing install to an approved plan: its graph and its steps.

    preflight, approval and, after these:

    foundation > cluster > account
             \\> weights    \\> reach_open > stack > agent
             \\> images -----/
    weights, agent > desired > ready > first-answer
    first-answer, account > census > reach_close > power-off > role-delete > proof > certificate

Called by the definitions of `install_update` and `install_restore`, which differ in how they come
to a plan. Nothing of it is undone (ADR 0036).
"""

from __future__ import annotations

from collections.abc import Callable

from controlplane.core.run_engine.definition import Done, Skip, Step, StepResult
from controlplane.domains.installs import drift as findings
from controlplane.sagas.provisioning import (
    boundary,
    certificate,
    closing,
    cluster,
    drift,
    gates,
    images,
    restoring,
    times,
    updating,
)
from controlplane.sagas.provisioning.access import Context, open_account, output
from controlplane.sagas.provisioning.permissions import granted_actions

_CHECKS = frozenset({"identity", "role", "host", "host-network"})
"""Checks that also hold for what stands; the others ask whether there is room for a new install."""


def preflight(context: Context) -> StepResult:
    """See that the role works and that the customer pins our key."""
    params = context.params
    images.require_copier(context)
    wanted = gates.wanted_of(params)
    with open_account(context) as opened:
        found = context.ports.cloud.preflight(opened.account, wanted)
        pins = context.ports.cloud.read_pins(opened.account)
    checks = [check for check in found if check.name in _CHECKS]
    gates.require_passed(context, checks)
    gates.require_our_pin(context, pins)
    return Done(
        {
            "checks": [{"name": c.name, "state": c.state, "message": c.message} for c in checks],
            "pins": pins,
            "permissions_granted": granted_actions(),
        }
    )


def approval(context: Context) -> StepResult:
    """Wait for a second person, and for a grant that lasts as long as the applies may take."""
    if updating.has_nothing_to_do(context):
        return Skip("there is nothing to change")
    planned = output(context, "plan")
    wanted, seconds = planned["digest"], planned["seconds_p90"]
    parked = gates.wait_for_approval(context, wanted, seconds, "the applies", "updating")
    return parked or Done({"digest": wanted})


def foundation(context: Context) -> StepResult:
    """Bring network, key and bucket to the plan."""
    restoring.let_go(context, "foundation")
    return updating.apply_stack(context, "foundation", None)


def cluster_build(context: Context) -> StepResult:
    """Bring the cluster, its nodes and the roles of its pods to the plan."""
    restoring.let_go(context, "cluster")
    return updating.apply_stack(context, "cluster", output(context, "foundation"))


def account(context: Context) -> StepResult:
    """See in the account that it is as applied; what was found before counts as set right."""
    found = drift.read_stacks(context)
    for item in found:
        context.resource(item.change, stack=item.stack, urn=item.urn, type=item.type)
    with context.transaction() as session:
        state = findings.record(
            session,
            context.ctx,
            install_id=context.params.install_id,
            boundary_id=context.run.boundary_id,
            organization_id=context.run.organization_id,
            run_id=context.run.id,
            found=[item.document() for item in found],
            remediates=True,
        )
        remediated = findings.remediated(session, context.run.id)
    return Done({"drift": state, "findings": len(found), "remediated": remediated})


def weights(context: Context) -> StepResult:
    """Copy the models that are not in the bucket."""
    return Done({"models": cluster.copy_models(context)})


def reach_open(context: Context) -> StepResult:
    """Open the way into the cluster, only if helm has something to do behind it."""
    if not updating.needs_release(context, context.outputs):
        # Not a `Skip`: the close tells this from a way that was opened half-way by the output.
        return Done({"opened": False})
    with cluster.reach(context) as way:
        way.open()
    return Done({"opened": True, "endpoint": output(context, "cluster").get("cluster_endpoint")})


def stack(context: Context) -> StepResult:
    """Upgrade operator, agent and gateway; a living agent keeps its identity."""
    if not output(context, "reach_open")["opened"]:
        return Skip("chart and values are those of the last release")
    if boundary.has_live_agent(context):
        return Done(cluster.upgrade_chart(context, ""))
    return Done(cluster.install_chart(context))


def agent(context: Context) -> StepResult:
    """Wait until the agent speaks."""
    return Done(boundary.wait_for_live_agent(context))


def desired(context: Context) -> StepResult:
    """Publish the desired state under both signatures, if it differs."""
    return Done(boundary.publish(context))


def ready(context: Context) -> StepResult:
    """Wait until everything in the boundary is ready."""
    return Done(boundary.wait_until_ready(context))


def first_answer(context: Context) -> StepResult:
    """Wait until every instance has answered a real completion."""
    return Done(boundary.wait_for_first_answer(context))


def census(context: Context) -> StepResult:
    """Count what of ours is left; also of a run that ended early the install stands."""
    planned = output(context, "plan")
    standing = planned.get("standing", {})
    counted = closing.count_residue(
        context,
        output(context, "foundation") or standing.get("foundation", {}),
        output(context, "cluster") or standing.get("cluster", {}),
    )
    if planned or not isinstance(counted, Done):
        return counted
    # It ended before it had looked. Once our power is gone, nobody can say why the agent is silent.
    with open_account(context) as opened:
        there = context.ports.cloud.has_cluster(opened.account, context.params.cluster)
    return Done({**counted.output, "cluster_gone": not there})


def reach_close(context: Context) -> StepResult:
    """Shut the way into the cluster, if the run may have opened it, and prove it."""
    # By the step before: one that failed half-way may have opened it and has no output.
    begun = "cluster" in context.outputs and not updating.has_nothing_to_do(context)
    if not begun or output(context, "reach_open").get("opened") is False:
        return Skip("the way in was not opened")
    return closing.shut_way_in(context)


def _unless_idle(step: Callable[[Context], StepResult]) -> Callable[[Context], StepResult]:
    """Skip a step of the work when the plan found nothing to change."""

    def work(context: Context) -> StepResult:
        if updating.has_nothing_to_do(context):
            return Skip("there is nothing to change")
        return step(context)

    return work


CHAIN = (
    Step("foundation", "Network, key, bucket", foundation, None, ("approval",),
         budget=times.stack_budget("foundation"), estimate=times.scaled(60, 8)),
    Step("cluster", "Cluster and nodes", cluster_build, None, ("foundation",),
         budget=times.stack_budget("cluster"), estimate=times.scaled(240, 8)),
    Step("account", "The account is as applied", _unless_idle(account), None, ("cluster",),
         budget=300, estimate=12),
    Step("weights", "Copy new models", _unless_idle(weights), None, ("foundation",),
         budget=times.scaled(1800, 60), estimate=times.scaled(60, 2)),
    Step("images", "Copy new images", _unless_idle(images.copy_all), None, ("foundation",),
         budget=times.scaled(1800, 180), estimate=times.scaled(30, 2)),
    Step("reach_open", "Open the way in", _unless_idle(reach_open), None, ("cluster", "images"),
         budget=times.scaled(900, 60), estimate=times.scaled(240, 2)),
    Step("stack", "Operator, agent, gateway", _unless_idle(stack), None, ("reach_open",),
         budget=times.scaled(300, 90), estimate=5),
    Step("agent", "The agent speaks", _unless_idle(agent), None, ("stack",),
         budget=times.scaled(300, 90), estimate=2),
    Step("desired", "Publish the desired state", _unless_idle(desired), None,
         ("agent", "weights"), budget=60, estimate=1),
    Step("ready", "Models ready", _unless_idle(ready), None, ("desired",),
         budget=times.scaled(900, 180), estimate=times.scaled(120, 8)),
    Step("first-answer", "First answer", _unless_idle(first_answer), None, ("ready",),
         budget=120, estimate=1, skippable=True),
    Step("census", "Count what is left of us", census, None, ("first-answer", "account"),
         "close", budget=60, estimate=1, max_attempts=5),
    Step("reach_close", "Shut the way in", reach_close, None, ("census",), "close",
         budget=times.scaled(900, 60), estimate=times.scaled(240, 2), max_attempts=5),
    Step("power-off", "Remove our power", closing.remove_power, None, ("reach_close",),
         "close", budget=240, estimate=times.scaled(10, 1), max_attempts=5),
    Step("role-delete", "The agent deletes the role", closing.end_role, None,
         ("power-off",), "close", budget=120, estimate=2, max_attempts=5),
    Step("proof", "Prove that access has ended", closing.prove_closed, None,
         ("role-delete",), "close", budget=240, estimate=times.scaled(10, 1), max_attempts=5),
    Step("certificate", "Certificate", certificate.issue, None, ("proof",), "close",
         budget=120, estimate=2, max_attempts=5),
)  # fmt: skip
"""The steps after the approval, in the order they are shown."""
