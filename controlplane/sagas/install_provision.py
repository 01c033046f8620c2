"""Install a blueprint into a boundary, bring its models to answer, and end our access.

The graph (decision 4 gives the order of the close; weights and images are copied beside the
cluster, images only where the boundary asks for it):

    preflight > plan > approval > foundation > cluster > reach_open > stack > agent > desired
                                            \\> images --/                          /
                                            \\> weights ----------------------------/
    desired > ready > first-answer > census > reach_close > power-off > role-delete > proof
            > certificate

A failure of any work step unwinds what was built and then runs the same close (decision 6).
"""

from __future__ import annotations

from typing import Any

from controlplane.core.run_engine.definition import Definition, Done, Park, Skip, Step, StepResult
from controlplane.sagas.provisioning import (
    boundary,
    certificate,
    closing,
    cluster,
    gates,
    images,
    stacks,
    times,
)
from controlplane.sagas.provisioning.access import (
    Context,
    open_account,
    output,
)
from controlplane.sagas.provisioning.params import ProvisionParams, complete
from controlplane.sagas.provisioning.permissions import granted_actions

# ---- Params ---------------------------------------------------------------------------------

Params = ProvisionParams


# ---- Steps, each with its undo --------------------------------------------------------------


def preflight(context: Context) -> StepResult:
    """Check the account before the first resource; a failed check ends the run with its remedy."""
    params = context.params
    cluster.require_way(context)
    images.require_copier(context)
    wanted = gates.wanted_of(params)
    with open_account(context) as opened:
        checks = context.ports.cloud.preflight(opened.account, wanted)
        pins = context.ports.cloud.read_pins(opened.account)
    gates.require_passed(context, checks)
    gates.require_our_pin(context, pins)
    return Done(
        {
            "checks": [{"name": c.name, "state": c.state, "message": c.message} for c in checks],
            "pins": pins,
            "permissions_granted": granted_actions(),
        }
    )


def plan(context: Context) -> StepResult:
    """Preview every stack and write the constraint that a second person approves."""
    document, digest = stacks.make_plan(context)
    context.journal.save_plan(document, digest)
    return Done({"digest": digest, "counts": document["counts"], **_constraint(document)})


def approval(context: Context) -> StepResult:
    """Wait for a second person, and for a grant that lasts as long as the applies may take."""
    wanted, seconds = output(context, "plan")["digest"], context.params.p90_seconds
    parked = gates.wait_for_approval(context, wanted, seconds, "the applies", "installing")
    return parked or Done({"digest": wanted})


def foundation(context: Context) -> StepResult:
    """Build network, key and bucket."""
    return _applied(stacks.apply_stack(context, "foundation", None))


def foundation_undo(context: Context) -> None:
    """Destroy network, key and bucket, but not what an earlier removal had retained."""
    stacks.destroy_stack(context, "foundation")


def cluster_build(context: Context) -> StepResult:
    """Build the cluster, its nodes and the roles of its pods."""
    upstream = output(context, "foundation")
    return _applied(stacks.apply_stack(context, "cluster", upstream))


def cluster_undo(context: Context) -> None:
    """Destroy the cluster."""
    stacks.destroy_stack(context, "cluster")


def weights(context: Context) -> StepResult:
    """Copy the models into the bucket while the cluster is being built."""
    return Done({"models": cluster.copy_models(context)})


def weights_undo(context: Context) -> None:
    """Leave the objects: the bucket's own destruction removes them with it."""
    context.log(message="the copied models go with their bucket")


def images_undo(context: Context) -> None:
    """Leave the images: the repositories' own destruction removes them."""
    context.log(message="copied images go with their repositories")


def reach_open(context: Context) -> StepResult:
    """Open the way into the cluster and see it answer."""
    with cluster.reach(context) as way:
        way.open()
    return Done({"endpoint": output(context, "cluster").get("cluster_endpoint")})


def reach_open_undo(context: Context) -> None:
    """Shut the way into the cluster."""
    cluster.close_reach(context)


def stack(context: Context) -> StepResult:
    """Install operator, agent and gateway."""
    return Done(cluster.install_chart(context))


def stack_undo(context: Context) -> None:
    """Remove operator, agent and gateway, and forget the agent that the chart's token let in."""
    cluster.remove_chart(context)
    boundary.forget_agent(context)


def agent(context: Context) -> StepResult:
    """Wait until the agent has enrolled with its own key."""
    return Done(boundary.wait_for_agent(context))


def desired(context: Context) -> StepResult:
    """Publish the desired state under both signatures."""
    return Done(boundary.publish(context))


def ready(context: Context) -> StepResult:
    """Wait until everything in the boundary is ready."""
    return Done(boundary.wait_until_ready(context))


def first_answer(context: Context) -> StepResult:
    """Wait until every instance has answered a real completion."""
    return Done(boundary.wait_for_first_answer(context))


def reach_close(context: Context) -> StepResult:
    """Shut the way into the cluster and prove it."""
    if context.run.is_unwound:
        return Skip("the unwind has shut the way in and destroyed the cluster")
    return closing.shut_way_in(context)


def _constraint(document: dict[str, Any]) -> dict[str, Any]:
    return {"constraint": document["constraint"]}


def _applied(result: Any) -> StepResult:
    return result if isinstance(result, Park) else Done(result.outputs)


# ---- Definition -----------------------------------------------------------------------------

DEFINITION = Definition(
    kind="install.provision",
    params=ProvisionParams,
    complete=complete,
    steps=(
        Step("preflight", "Check the account", preflight, None, planning=True, budget=60,
             estimate=2),
        Step("plan", "Plan", plan, None, ("preflight",), planning=True, budget=120, estimate=6),
        Step("approval", "Approval of the plan", approval, None, ("plan",), planning=True,
             budget=60, estimate=0),
        Step("foundation", "Network, key, bucket", foundation, foundation_undo, ("approval",),
             budget=times.stack_budget("foundation"), estimate=times.stack_estimate("foundation")),
        Step("cluster", "Cluster and nodes", cluster_build, cluster_undo, ("foundation",),
             budget=times.stack_budget("cluster"), estimate=times.stack_estimate("cluster")),
        Step("weights", "Copy the models", weights, weights_undo, ("foundation",),
             budget=times.scaled(1800, 60), estimate=times.scaled(120, 2)),
        Step("images", "Copy the images", images.copy_all, images_undo, ("foundation",),
             budget=times.scaled(1800, 180), estimate=times.scaled(60, 2)),
        Step("reach_open", "Open the way in", reach_open, reach_open_undo, ("cluster", "images"),
             budget=times.scaled(900, 60), estimate=times.scaled(240, 2)),
        Step("stack", "Operator, agent, gateway", stack, stack_undo, ("reach_open",),
             budget=times.scaled(300, 90), estimate=5),
        Step("agent", "Agent enrols", agent, None, ("stack",),
             budget=times.scaled(300, 90), estimate=4),
        Step("desired", "Publish the desired state", desired, None, ("agent", "weights"),
             budget=60, estimate=1),
        Step("ready", "Models ready", ready, None, ("desired",),
             budget=times.scaled(900, 180), estimate=times.scaled(120, 8)),
        Step("first-answer", "First answer", first_answer, None, ("ready",),
             budget=120, estimate=1, skippable=True),
        Step("census", "Count what is left of us", closing.take_census, None, ("first-answer",),
             "close", budget=60, estimate=1, max_attempts=5),
        Step("reach_close", "Shut the way in", reach_close, None, ("census",), "close",
             budget=times.scaled(900, 60), estimate=times.scaled(240, 2), max_attempts=5),
        Step("power-off", "Remove our power", closing.remove_power, None, ("reach_close",),
             "close", budget=240, estimate=times.scaled(10, 1), max_attempts=5),
        Step("role-delete", "The agent deletes the role", closing.delete_role, None,
             ("power-off",), "close", budget=120, estimate=2, max_attempts=5),
        Step("proof", "Prove that access has ended", closing.prove_closed, None,
             ("role-delete",), "close", budget=240, estimate=times.scaled(10, 1), max_attempts=5),
        Step("certificate", "Certificate", certificate.issue, None, ("proof",), "close",
             budget=120, estimate=2, max_attempts=5),
    ),
)  # fmt: skip
