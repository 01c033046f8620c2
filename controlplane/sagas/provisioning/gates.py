"""What must hold before an `install.*` saga goes on: checks, our pinned key, approval and time.

Called by the planning steps of the sagas that change an install. Separate because they ask the same
of a person and of the account, each with a plan of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from controlplane.adapters.aws.checks import Check
from controlplane.adapters.aws.host import WantedHost
from controlplane.adapters.aws.preflight import Wanted
from controlplane.core.errors import InvalidRequestError
from controlplane.core.run_engine.definition import Park
from controlplane.sagas.provisioning import closing, times
from controlplane.sagas.provisioning.access import Context, current_role, is_usable
from controlplane.sagas.provisioning.params import ProvisionParams


def wanted_of(params: ProvisionParams) -> Wanted:
    """Return what the account must have room for, or the host that has it already."""
    cidr = str(params.inputs["cidr"])
    host = params.host
    return Wanted(
        cidr=cidr,
        zones=tuple(params.inputs.get("zones", ())),
        bucket=params.bucket,
        cluster=params.cluster,
        host=WantedHost(host, params.cluster, cidr) if host is not None else None,
    )


def require_passed(context: Context, checks: Sequence[Check]) -> None:
    """Show every check. Raises: InvalidRequestError naming all that failed and their remedies."""
    for check in checks:
        context.progress(
            check=check.name, state=check.state, message=check.message, remedy=check.remedy
        )
    failed = [check for check in checks if check.state == "fail"]
    if failed:
        raise InvalidRequestError(
            "; ".join(f"{check.name}: {check.message}" for check in failed),
            code="preflight-failed",
            fix="; ".join(check.remedy for check in failed if check.remedy) or None,
        )


def require_our_pin(context: Context, pins: Mapping[str, str]) -> None:
    """See that the customer's closer role pins our key, if any. Raises: InvalidRequestError."""
    ours = context.ports.signer.fingerprint
    if pins.get("control-plane-key") not in (None, ours):
        raise InvalidRequestError(
            f"the closer role pins {pins['control-plane-key']}, our key is {ours}",
            code="wrong-pin",
            fix="let the customer update the role's stack with the template of this connection",
        )


def wait_for_approval(
    context: Context, digest: str, applies: float, what: str, lifecycle: str
) -> Park | None:
    """Park until a second person approved the plan and the grant lasts for it and the close.

    Shapes: `applies` in seconds at p90; `what` in words, as in "the applies". None lets the run go
    on, with the install's lifecycle set.
    """
    if context.run.approved_digest != digest:
        return Park("awaiting-approval", f"plan {digest} needs a second person")
    role = current_role(context)
    needed = times.until_closed(context.params, applies)
    if not is_usable(role) or role.remaining.total_seconds() < needed:
        return Park(
            "waiting-for-grant",
            f"{what} and the close take up to {needed:.0f} s; "
            f"{role.target.role_name} is good for {max(role.remaining.total_seconds(), 0):.0f} s: "
            "open a new grant, then retry the run",
        )
    with context.transaction() as session:
        closing.set_axes(session, context, lifecycle=lifecycle, access="open")
    return None
