"""Make the take-over kit of an install: what its customer needs to go on without us.

A reading run: it claims nothing, opens no role and works between grants, from rows and from the
engine's state as it stands (decision 11). Everything is in one step, whose output holds the kit
until somebody with the right to it fetches it; the same rows and recipient give the same bytes.
"""

from __future__ import annotations

import base64
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from controlplane.core.errors import ConflictError, NotFoundError
from controlplane.core.run_engine.definition import (
    Definition,
    Done,
    RunView,
    Step,
    StepContext,
    StepResult,
)
from controlplane.core.run_engine.tables import Run, StepRow
from controlplane.domains.installs.repository import APPLYING
from controlplane.domains.installs.takeover import MAKE, STEP
from controlplane.sagas.provisioning.params import ProvisionParams
from controlplane.sagas.provisioning.ports import Ports
from controlplane.sagas.takeover import kit
from wire.takeover import Recipient, TakeoverFile

# ---- Params ---------------------------------------------------------------------------------


class TakeoverParams(BaseModel):
    """Which applied run the kit is of, and for whom; carries no secret."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipient: Recipient
    applied_run_id: UUID
    applied: ProvisionParams
    """The parameters of that run, as they were fixed then."""


Params = TakeoverParams


def complete(session: Session, run: RunView, raw: dict[str, Any], ports: Ports) -> TakeoverParams:
    """Return the full parameters. Raises: ConflictError when nothing of the install stands."""
    applied = session.scalars(
        select(Run)
        .where(
            Run.install_id == run.install_id,
            Run.kind.in_(APPLYING),
            or_(Run.state == "succeeded", Run.outcome == "kept"),
        )
        .order_by(Run.created_at.desc())
        .limit(1)
    ).one_or_none()
    if applied is None:
        raise ConflictError(
            f"install {run.install_id} was never brought to an end, so there is nothing to hand"
            " over",
            code="not-installed",
            fix="wait until its run has ended",
        )
    known = ProvisionParams.model_fields
    return TakeoverParams(
        recipient=Recipient.model_validate(raw["recipient"]),
        applied_run_id=applied.id,
        applied=ProvisionParams.model_validate(
            {key: value for key, value in applied.params.items() if key in known}
        ),
    )


# ---- Steps ----------------------------------------------------------------------------------


def make(context: StepContext[TakeoverParams, Ports]) -> StepResult:
    """Collect the parts, re-encrypt the state, sign the manifest, and keep the archive."""
    params, ports = context.params, context.ports
    with context.transaction() as session:
        rows = kit.read_rows(session, context.run, params.applied, ports)
        outputs = _outputs(session, params.applied_run_id)
    context.check()
    made = kit.make(context.run, params.applied, outputs, rows, params.recipient, ports)
    envelope = ports.signer.sign(made.manifest)
    file = TakeoverFile(envelope=envelope, keys={ports.signer.fingerprint: ports.signer.public})
    archive = made.packed(file)
    context.log(message=f"{len(made.manifest.files)} files, {len(archive)} bytes")
    return Done(
        {
            "manifest": file.to_wire(),
            "archive": base64.b64encode(archive).decode(),
            "size_bytes": len(archive),
            "digest": kit.digest_of(archive),
        }
    )


def _outputs(session: Session, run_id: UUID) -> dict[str, dict[str, Any]]:
    """Return what the steps of the applied run gave. Raises: NotFoundError without any."""
    rows = session.execute(
        select(StepRow.key, StepRow.output).where(
            StepRow.run_id == run_id, StepRow.output.is_not(None)
        )
    ).all()
    if not rows:
        raise NotFoundError(f"run {run_id} has no steps")
    return {row.key: dict(row.output or {}) for row in rows}


# ---- Definition -----------------------------------------------------------------------------

DEFINITION = Definition(
    kind=MAKE,
    params=TakeoverParams,
    lane="read",
    # It makes nothing in the account, so there is nothing to undo.
    keeps=True,
    complete=complete,
    # It only reads, so no maintenance window holds it.
    steps=(Step(STEP, "Take-over kit", make, None, planning=True, budget=120, estimate=4),),
)
