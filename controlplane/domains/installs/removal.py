"""Ask for an install's removal, or for the purge of what a removal retained.

Called by the router. Separate from `service`, which brings an install about: a removal takes the
install as it is, adds no revision, and may follow a run that ended anywhere.
"""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.orm import Session

from controlplane.core import audit, run_engine
from controlplane.core.actor import OpContext
from controlplane.core.errors import ConflictError, ForbiddenError
from controlplane.domains.grants import service as grants
from controlplane.domains.installs import hosting, repository
from controlplane.domains.installs.service import BUSY
from controlplane.tables.installs import Install

DEPROVISION = "install.deprovision"
PURGE = "install.purge"


def request_removal(
    session: Session,
    ctx: OpContext,
    install_id: UUID,
    *,
    grant_id: UUID,
    reason: str,
    purge: bool,
) -> tuple[Install, UUID]:
    """Write the run; it begins by listing what would go. Return the install and the run's id.

    Raises: NotFoundError; ConflictError for a grant that is not active, an install that is busy,
    guests in its cluster, or nothing to remove.
    """
    if ctx.actor.principal_id is None:
        raise ForbiddenError("only a person can ask for a removal")
    install = repository.get_install(session, install_id)
    _require_removable(install, purge=purge)
    hosting.require_no_guests(session, install.boundary_id)
    grant = grants.require_active(session, grant_id, install.boundary_id)
    run_id = run_engine.create_run(
        session,
        ctx,
        organization_id=install.organization_id,
        boundary_id=install.boundary_id,
        install_id=install.id,
        kind=PURGE if purge else DEPROVISION,
        params={"reason": reason, "purge": purge},
    )
    audit.append(
        session,
        ctx,
        "install.removal-requested",
        target=f"install/{install.id}",
        boundary_id=install.boundary_id,
        detail={
            "run_id": str(run_id),
            "grant_id": str(grant.id),
            "reason": reason,
            "purge": purge,
        },
    )
    return install, run_id


def _require_removable(install: Install, *, purge: bool) -> None:
    if install.lifecycle in BUSY:
        raise ConflictError(
            f"install {install.id} is {install.lifecycle}",
            code="install-busy",
            fix="watch its run, or cancel it, before asking for its removal",
        )
    if purge:
        _require_purgeable(install)
    elif install.lifecycle == "removed":
        raise ConflictError(
            f"install {install.id} is removed already",
            code="removed",
            fix="ask for a purge of what is retained" if install.retained else None,
        )


def _require_purgeable(install: Install) -> None:
    if install.lifecycle in ("installed", "partial"):
        raise ConflictError(
            f"install {install.id} is {install.lifecycle}, not removed",
            code="not-removed",
            field="purge",
            fix="remove it first; a purge destroys what that removal retained",
        )
    if not install.retained:
        raise ConflictError(
            f"nothing of install {install.id} is retained", code="nothing-retained", field="purge"
        )
