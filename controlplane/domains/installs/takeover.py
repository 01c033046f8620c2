"""Ask for the take-over kit of an install, and hand it out.

Called by the router. Making it is the worker's (`sagas/install_takeover`): it alone holds the keys.
The kit is the output of a reading run, so nothing of it is kept outside the run's own rows.
"""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from controlplane.core import audit, run_engine
from controlplane.core.actor import OpContext
from controlplane.core.errors import ConflictError, InvalidRequestError, NotFoundError
from controlplane.core.run_engine.tables import Run, StepRow
from controlplane.domains.installs import repository
from controlplane.tables.installs import Install
from proof.sealing import SealingError, seal
from wire.takeover import Recipient

MAKE = repository.TAKEOVER
STEP = "kit"
STANDING = frozenset({"installed", "partial"})
"""Lifecycles in which there is something to hand over and nothing is changing it."""


@dataclass(frozen=True)
class KitRun:
    """A run that makes, or made, a kit."""

    run: Run
    output: dict[str, Any] | None
    """What its step gave; None before it has succeeded."""


def request_kit(
    session: Session, ctx: OpContext, install_id: UUID, recipient: Recipient
) -> tuple[Install, UUID]:
    """Start a run that makes a kit for the recipient's key; return install and run.

    Raises: InvalidRequestError for a key that cannot be sealed to; ConflictError for an install
    that is changing or of which nothing stands.
    """
    install = repository.get_install(session, install_id)
    try:
        seal(b"", recipient, secrets.token_bytes(32))
    except SealingError as error:
        raise InvalidRequestError(
            str(error), field="recipient.public", fix="make a key: ringfence takeover key FILE"
        ) from error
    if install.lifecycle not in STANDING:
        raise ConflictError(
            f"install {install.id} is {install.lifecycle}",
            code="not-installed",
            fix="a kit is of what stands: wait until its run has ended",
        )
    run_id = run_engine.create_run(
        session,
        ctx,
        organization_id=install.organization_id,
        boundary_id=install.boundary_id,
        install_id=install.id,
        kind=MAKE,
        lane="read",
        params={"recipient": recipient.model_dump(mode="json")},
    )
    return install, run_id


def get_kit(session: Session, install_id: UUID, run_id: UUID) -> KitRun:
    """Return a kit's run. Raises: NotFoundError."""
    run = session.scalars(
        select(Run).where(Run.id == run_id, Run.install_id == install_id, Run.kind == MAKE)
    ).one_or_none()
    if run is None:
        raise NotFoundError(f"install {install_id} has no kit {run_id}")
    output = session.scalars(
        select(StepRow.output).where(
            StepRow.run_id == run_id, StepRow.key == STEP, StepRow.state == "succeeded"
        )
    ).one_or_none()
    return KitRun(run, output)


def open_archive(
    session: Session, ctx: OpContext, install_id: UUID, run_id: UUID
) -> tuple[bytes, str]:
    """Return a finished kit's archive and digest, with the audit event of its being handed out.

    Raises: NotFoundError; ConflictError while it is being made.
    """
    kit = get_kit(session, install_id, run_id)
    if kit.output is None:
        raise ConflictError(
            f"kit {run_id} is not finished: its run is {kit.run.state}",
            code="not-ready",
            fix="look at it again when its run has succeeded",
        )
    audit.append(
        session,
        ctx,
        "takeover.downloaded",
        target=f"install/{install_id}",
        boundary_id=kit.run.boundary_id,
        detail={"run_id": str(run_id), "digest": kit.output["digest"]},
    )
    return base64.b64decode(kit.output["archive"]), str(kit.output["digest"])
