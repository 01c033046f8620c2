"""Ask for an install's restoration, and for a list of the records that it can begin from.

Called by the router. Separate from `update`: nothing may be changed here, so what is asked for is
the revision that was applied last. The list is made by the worker (`sagas/install_snapshots`): it
alone reaches the engine's state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from controlplane.core import audit, run_engine
from controlplane.core.actor import OpContext
from controlplane.core.errors import ForbiddenError, InvalidRequestError, NotFoundError
from controlplane.core.run_engine.tables import Run, StepRow
from controlplane.domains.grants import service as grants
from controlplane.domains.installs import repository
from controlplane.domains.installs.service import add_revision
from controlplane.domains.installs.update import require_standing
from controlplane.tables.catalog import BlueprintVersion
from controlplane.tables.installs import Install, InstallRevision

RESTORE = "install.restore"
LIST = repository.SNAPSHOTS
STEP = "snapshots"


@dataclass(frozen=True)
class SnapshotRun:
    """A run that lists the snapshots of an install's state."""

    run: Run
    output: dict[str, Any] | None
    """What its step gave; None before it has succeeded."""


def request_restore(
    session: Session,
    ctx: OpContext,
    install_id: UUID,
    *,
    grant_id: UUID,
    reason: str,
    snapshot: int | None,
    empty: bool,
) -> tuple[Install, UUID]:
    """Write revision and run; it begins by reading the account. Return install and run id.

    Raises: NotFoundError; InvalidRequestError for two records at once; ConflictError for a grant
    that is not active, or an install that does not stand or is busy.
    """
    if ctx.actor.principal_id is None:
        raise ForbiddenError("only a person can ask for a restoration")
    if empty and snapshot is not None:
        raise InvalidRequestError(
            "a restoration begins from a snapshot or from nothing, not from both",
            field="snapshot",
            fix="leave one of snapshot and empty out",
        )
    install = repository.get_install(session, install_id)
    require_standing(install, "restore")
    applied = int(repository.get_applied_run(session, install_id).params["revision"])
    base = repository.get_revision(session, install_id, applied)
    registered = _version_of(session, base)
    grant = grants.require_active(session, grant_id, install.boundary_id)
    revision = add_revision(session, ctx, install, registered, base.inputs, grant.id)
    run_id = run_engine.create_run(
        session,
        ctx,
        organization_id=install.organization_id,
        boundary_id=install.boundary_id,
        install_id=install.id,
        kind=RESTORE,
        params={"reason": reason, "snapshot": snapshot, "empty": empty},
    )
    facts = {
        "run_id": str(run_id), "grant_id": str(grant.id), "reason": reason, "snapshot": snapshot,
        "empty": empty, "revision": revision.number, "from_revision": applied,
    }  # fmt: skip
    target = f"install/{install.id}"
    audit.append(
        session, ctx, "install.restore-requested", target=target, boundary_id=install.boundary_id,
        detail=facts,
    )  # fmt: skip
    return install, run_id


def _version_of(session: Session, revision: InstallRevision) -> BlueprintVersion:
    found = select(BlueprintVersion).where(BlueprintVersion.id == revision.blueprint_version_id)
    return session.scalars(found).one()


def request_snapshots(session: Session, ctx: OpContext, install_id: UUID) -> UUID:
    """Start a reading run that lists what the state can be put back to; return its id."""
    install = repository.get_install(session, install_id)
    return run_engine.create_run(
        session,
        ctx,
        organization_id=install.organization_id,
        boundary_id=install.boundary_id,
        install_id=install.id,
        kind=LIST,
        lane="read",
    )


def get_snapshots(session: Session, install_id: UUID, run_id: UUID) -> SnapshotRun:
    """Return a list's run. Raises: NotFoundError."""
    run = session.scalars(
        select(Run).where(Run.id == run_id, Run.install_id == install_id, Run.kind == LIST)
    ).one_or_none()
    if run is None:
        raise NotFoundError(f"install {install_id} has no list of snapshots {run_id}")
    output = session.scalars(
        select(StepRow.output).where(
            StepRow.run_id == run_id, StepRow.key == STEP, StepRow.state == "succeeded"
        )
    ).one_or_none()
    return SnapshotRun(run, output)
