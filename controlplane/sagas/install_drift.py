"""Look whether the account is still as our runs left it: a reading run, while a grant is open.

    scan > record > power-off > role-delete > proof

It changes nothing and claims nothing. Its close ends the access, unless a writing run of the
install is under way or the person who asked wants to go on under the same grant.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from controlplane.core.errors import ConflictError
from controlplane.core.run_engine.decide import FINAL
from controlplane.core.run_engine.definition import (
    Definition,
    Done,
    RunView,
    Skip,
    Step,
    StepResult,
)
from controlplane.core.run_engine.tables import Run
from controlplane.domains.installs import drift as findings
from controlplane.sagas.provisioning import closing, drift
from controlplane.sagas.provisioning import params as provision
from controlplane.sagas.provisioning.access import Context, current_role, is_usable, output
from controlplane.sagas.provisioning.params import ProvisionParams
from controlplane.sagas.provisioning.ports import Ports

# ---- Params ---------------------------------------------------------------------------------


class DriftParams(ProvisionParams):
    """Which install is looked at, and whether the grant stays open afterwards."""

    keep_open: bool


Params = DriftParams


def complete(session: Session, run: RunView, raw: dict[str, Any], ports: Ports) -> DriftParams:
    """Return the full parameters. Raises: NotFoundError naming what is missing."""
    base = provision.complete(session, run, raw, ports)
    values = {name: getattr(base, name) for name in ProvisionParams.model_fields}
    return DriftParams(**values, keep_open=bool(raw.get("keep_open", False)))


# ---- Steps ----------------------------------------------------------------------------------


def scan(context: Context) -> StepResult:
    """Refresh a copy of each stack's state and compare. Raises: ConflictError without a grant."""
    role = current_role(context)
    if not is_usable(role):
        raise ConflictError(
            f"{role.target.role_name} is not open: the drift of the cloud stays unknown",
            code="no-grant",
            fix="open a grant, then ask for the scan again",
        )
    found = drift.read_stacks(context)
    for item in found:
        context.resource(item.change, stack=item.stack, urn=item.urn, type=item.type)
    return Done({"findings": [item.document() for item in found]})


def record(context: Context) -> StepResult:
    """Keep what was found; what is right again is resolved, what was accepted stays accepted."""
    found = output(context, "scan")["findings"]
    with context.transaction() as session:
        state = findings.record(
            session,
            context.ctx,
            install_id=context.params.install_id,
            boundary_id=context.run.boundary_id,
            organization_id=context.run.organization_id,
            run_id=context.run.id,
            found=found,
        )
    return Done({"drift": state, "findings": len(found)})


def _unless_kept(step: Callable[[Context], StepResult]) -> Callable[[Context], StepResult]:
    """Skip a step of the close while the grant is somebody else's too."""

    def closing_step(context: Context) -> StepResult:
        assert isinstance(context.params, DriftParams)
        if context.params.keep_open:
            return Skip("the grant stays open, as asked")
        if _is_shared(context):
            return Skip("a run that changes the install is under way; it ends the access")
        return step(context)

    return closing_step


def _is_shared(context: Context) -> bool:
    with context.transaction() as session:
        other = session.execute(
            select(Run.id).where(
                Run.boundary_id == context.run.boundary_id,
                Run.lane == "write",
                Run.state.not_in(FINAL),
            )
        ).first()
    return other is not None


# ---- Definition -----------------------------------------------------------------------------

DEFINITION = Definition(
    kind="install.drift",
    params=DriftParams,
    complete=complete,
    lane="read",
    keeps=True,
    steps=(
        Step("scan", "Compare state and account", scan, None, planning=True, budget=300,
             estimate=12),
        Step("record", "Keep what was found", record, None, ("scan",), planning=True, budget=60,
             estimate=1),
        Step("power-off", "Remove our power", _unless_kept(closing.remove_power), None,
             ("record",), "close", budget=240, estimate=2, max_attempts=5),
        Step("role-delete", "The role ends", _unless_kept(closing.end_role), None,
             ("power-off",), "close", budget=120, estimate=2, max_attempts=5),
        Step("proof", "Prove that access has ended", _unless_kept(closing.prove_closed), None,
             ("role-delete",), "close", budget=240, estimate=2, max_attempts=5),
    ),
)  # fmt: skip
