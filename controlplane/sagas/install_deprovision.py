"""Remove an install from the customer's account, keep what is theirs, and end our access.

    preflight > plan > approval > agent > reach_open > release > cluster > foundation > inventory
    > census > reach_close > power-off > role-delete > proof > certificate

The agent goes first (decision 5), so the role ends by the customer or by time. What is destroyed
cannot be taken back: a failure keeps what is left and closes; another run goes on from there.
`install.purge` later destroys what was retained, by the same steps without a cluster.
"""

from __future__ import annotations

from controlplane.adapters.helm.release import ReleaseFailedError
from controlplane.adapters.kubernetes.reach import NotReachableError, UpdateFailedError
from controlplane.core.errors import ConflictError, ForbiddenError, NotFoundError
from controlplane.core.run_engine.definition import Definition, Done, Skip, Step, StepResult
from controlplane.sagas.provisioning import (
    boundary,
    closing,
    cluster,
    gates,
    removal,
    removal_certificate,
    times,
)
from controlplane.sagas.provisioning.access import (
    Context,
    open_account,
    output,
)
from controlplane.sagas.provisioning.permissions import granted_actions
from controlplane.sagas.provisioning.removal import RemovalParams

# ---- Params ---------------------------------------------------------------------------------

Params = RemovalParams

# A cluster that does not answer within this, at time scale 1, counts as lost (`reach.Budget`).
_REACH_SECONDS = 1200.0
_MAX_NAMED = 5
# How often helm is asked before the chart is left to go with its nodes.
RELEASE_ATTEMPTS = 2

# ---- Steps ----------------------------------------------------------------------------------


def preflight(context: Context) -> StepResult:
    """Read what the account holds, and which key of ours the customer pins."""
    with open_account(context) as opened:
        pins = context.ports.cloud.read_pins(opened.account)
        params = context.params
        held = context.ports.cloud.inventory(
            opened.account, {}, params.hosts_cluster, images=params.copies_images
        )
    context.progress(message=f"the account holds {len(held)} things of the boundary")
    return Done({"pins": pins, "permissions_granted": granted_actions(), "held": len(held)})


def plan(context: Context) -> StepResult:
    """List what goes and what stays, for a second person to approve."""
    document, digest, resources = removal.make_plan(context)
    context.journal.save_plan(document, digest)
    return Done(
        {
            "digest": digest,
            "counts": document["counts"],
            "constraint": document["constraint"],
            "resources": resources,
        }
    )


def approval(context: Context) -> StepResult:
    """Wait for a second person, and for a grant that lasts as long as the removal may take."""
    wanted, seconds = output(context, "plan")["digest"], context.params.p90_seconds
    parked = gates.wait_for_approval(context, wanted, seconds, "the removal", "removing")
    return parked or Done({"digest": wanted})


def agent(context: Context) -> StepResult:
    """Let the agent go: from now on nothing of ours is obeyed or heard in the boundary."""
    was_alive = boundary.has_live_agent(context)
    boundary.forget_agent(context)
    return Done({"was_alive": was_alive})


def reach_open(context: Context) -> StepResult:
    """Open the way into the cluster; one that does not answer is destroyed without it.

    Raises: NotReachableError for a guest, in whose host's cluster something would be left.
    """
    try:
        with cluster.reach(context) as way:
            way.open()
    except NotFoundError:
        return Done({"cluster": "absent"})
    except (NotReachableError, UpdateFailedError) as error:
        if context.params.host is not None:
            # The host's cluster stays: what runs there would stay with it, unseen.
            raise
        context.log(severity="warning", message=f"the cluster is lost: {error.public_message}")
        return Done({"cluster": "lost", "reason": error.public_message})
    return Done({"cluster": "opened"})


def release(context: Context) -> StepResult:
    """Remove operator, agent and gateway, so that what they made in the account goes first."""
    found = output(context, "reach_open")["cluster"]
    if found != "opened":
        return Skip(f"the cluster is {found}: what ran in it goes with its nodes")
    try:
        cluster.remove_chart(context)
    except ReleaseFailedError as error:
        if context.attempt < RELEASE_ATTEMPTS or context.params.host is not None:
            raise
        # The nodes go next and all that ran on them; the inventory tells what stayed behind.
        context.log(severity="warning", message=error.public_message)
        return Skip(f"the chart did not go in order: {error.public_message[:200]}")
    return Done({"release": cluster.RELEASE})


def destroy_cluster(context: Context) -> StepResult:
    """Destroy the cluster, its nodes and the roles of its pods."""
    return removal.remove_stack(context, "cluster")


def destroy_foundation(context: Context) -> StepResult:
    """Destroy the network, and of key and bucket what is not retained."""
    return removal.remove_stack(context, "foundation")


def inventory(context: Context) -> StepResult:
    """See in the account that nothing but the retained is left.

    Raises: ConflictError naming what is left.
    """
    items = removal.take_inventory(context)
    left = [f"{item.kind} {item.name}" for item in items if not item.expected]
    if left:
        more = f" and {len(left) - _MAX_NAMED} more" if len(left) > _MAX_NAMED else ""
        raise ConflictError(
            f"left in the account: {', '.join(left[:_MAX_NAMED])}{more}",
            code="residue",
            fix="remove what holds them, then ask for the removal again",
        )
    return Done({"retained": len(items)})


def census(context: Context) -> StepResult:
    """Record all of the boundary that the account still holds while we can still read it."""
    try:
        items = removal.take_inventory(context)
    except ForbiddenError as error:
        return Skip(f"the account cannot be read any more: {error.public_message}")
    return Done(
        {
            "residue": [item.model_dump(mode="json") for item in items],
            "findings": sum(1 for item in items if not item.expected),
        }
    )


def reach_close(context: Context) -> StepResult:
    """Shut the way into a cluster that is still there, and prove it."""
    # By the step before: one that failed half-way may have opened it and has no output.
    if "agent" not in context.outputs:
        return Skip("the way in was not opened")
    return closing.shut_way_in(context)


# ---- Definitions ----------------------------------------------------------------------------

_PLANNING = (
    Step("preflight", "Read the account", preflight, None, planning=True, budget=60, estimate=2),
    Step("plan", "List what goes and what stays", plan, None, ("preflight",), planning=True,
         budget=120, estimate=4),
    Step("approval", "Approval of the list", approval, None, ("plan",), planning=True, budget=60,
         estimate=0),
)  # fmt: skip


def _close(last: str) -> tuple[Step, ...]:
    return (
        Step("census", "Count what is left", census, None, (last,), "close", budget=60,
             estimate=1, max_attempts=5),
        Step("reach_close", "Shut the way in", reach_close, None, ("census",), "close",
             budget=times.scaled(900, 60), estimate=1, max_attempts=5),
        Step("power-off", "Remove our power", closing.remove_power, None, ("reach_close",),
             "close", budget=240, estimate=times.scaled(10, 1), max_attempts=5),
        Step("role-delete", "The customer deletes the role", closing.end_role, None,
             ("power-off",), "close", budget=120, estimate=2, max_attempts=5),
        Step("proof", "Prove that access has ended", closing.prove_closed, None,
             ("role-delete",), "close", budget=240, estimate=times.scaled(10, 1), max_attempts=5),
        Step("certificate", "Certificate of the removal", removal_certificate.issue, None,
             ("proof",), "close", budget=120, estimate=2, max_attempts=5),
    )  # fmt: skip


DEFINITION = Definition(
    kind="install.deprovision",
    params=RemovalParams,
    complete=removal.complete,
    keeps=True,
    steps=(
        *_PLANNING,
        Step("agent", "The agent goes first", agent, None, ("approval",), budget=60, estimate=1),
        Step("reach_open", "Open the way in", reach_open, None, ("agent",),
             budget=times.scaled(_REACH_SECONDS, 120), estimate=times.scaled(240, 2)),
        Step("release", "Remove what runs in the cluster", release, None, ("reach_open",),
             budget=times.scaled(300, 600), estimate=5),
        Step("cluster", "Destroy cluster and nodes", destroy_cluster, None, ("release",),
             budget=times.stack_budget("cluster"), estimate=times.stack_estimate("cluster")),
        Step("foundation", "Destroy the network", destroy_foundation, None, ("cluster",),
             budget=times.stack_budget("foundation"), estimate=times.stack_estimate("foundation")),
        Step("inventory", "Nothing else is left", inventory, None, ("foundation",), budget=60,
             estimate=2),
        *_close("inventory"),
    ),
)  # fmt: skip

PURGE = Definition(
    kind="install.purge",
    params=RemovalParams,
    complete=removal.complete,
    keeps=True,
    steps=(
        *_PLANNING,
        Step("foundation", "Destroy what was retained", destroy_foundation, None, ("approval",),
             budget=times.stack_budget("foundation"), estimate=times.stack_estimate("foundation")),
        Step("inventory", "Nothing is left", inventory, None, ("foundation",), budget=60,
             estimate=2),
        *_close("inventory"),
    ),
)  # fmt: skip
