"""Ask for an update of a standing install: other inputs or version, or what drifted set right.

Called by the router. Separate from `service`, which brings an install about: an update starts from
the revision that was applied last, and one without any change sets right what drifted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from controlplane.core import audit, run_engine
from controlplane.core.actor import OpContext
from controlplane.core.errors import ConflictError, ForbiddenError, InvalidRequestError
from controlplane.domains.blueprint_registry import service as blueprints
from controlplane.domains.boundaries.repository import get_boundary
from controlplane.domains.connections.repository import get_for_boundary
from controlplane.domains.grants import service as grants
from controlplane.domains.installs import hosting, repository
from controlplane.domains.installs.schemas import UpdateIn
from controlplane.domains.installs.service import BUSY, add_revision, plan_inputs
from controlplane.tables.catalog import BlueprintVersion
from controlplane.tables.installs import Install, InstallRevision
from controlplane.tables.organizations import Organization
from wire.manifest import BlueprintManifest

UPDATE = "install.update"
_STANDING = frozenset({"installed", "partial"})


def request_update(
    session: Session,
    ctx: OpContext,
    install_id: UUID,
    asked: UpdateIn,
    *,
    control_plane_cidrs: Sequence[str],
) -> tuple[Install, UUID]:
    """Write revision and run; it begins by comparing with the account. Return install and run id.

    Raises: NotFoundError for install, revision or version; InvalidRequestError for inputs;
    ConflictError for a grant that is not active, or an install that does not stand or is busy.
    """
    if ctx.actor.principal_id is None:
        raise ForbiddenError("only a person can ask for an update")
    install = repository.get_install(session, install_id)
    require_standing(install, "update")
    applied = int(repository.get_applied_run(session, install_id).params["revision"])
    base = repository.get_revision(session, install_id, asked.revision or applied)
    registered = _version(session, base, asked.version)
    inputs = _inputs(asked, base.inputs)
    kept = _checked(session, install, registered, inputs, control_plane_cidrs)
    grant = grants.require_active(session, asked.grant_id, install.boundary_id)
    revision = add_revision(session, ctx, install, registered, kept, grant.id)
    run_id = run_engine.create_run(
        session,
        ctx,
        organization_id=install.organization_id,
        boundary_id=install.boundary_id,
        install_id=install.id,
        kind=UPDATE,
        params={"reason": asked.reason},
    )
    facts = {
        "run_id": str(run_id),
        "grant_id": str(grant.id),
        "reason": asked.reason,
        "revision": revision.number,
        "from_revision": applied,
        "blueprint": f"{registered.name} {registered.version}",
        "blueprint_digest": registered.digest,
        "inputs_digest": revision.inputs_digest,
        "changed": sorted(k for k in {*kept, *base.inputs} if kept.get(k) != base.inputs.get(k)),
    }
    target = f"install/{install.id}"
    audit.append(
        session, ctx, "install.update-requested", target=target, boundary_id=install.boundary_id,
        detail=facts,
    )  # fmt: skip
    return install, run_id


def require_standing(install: Install, what: str) -> None:
    """See that an install stands and that no run changes it. Raises: ConflictError."""
    if install.lifecycle in BUSY:
        raise ConflictError(
            f"install {install.id} is {install.lifecycle}",
            code="install-busy",
            fix="watch its run, or cancel it, before asking for this",
        )
    if install.lifecycle not in _STANDING:
        raise ConflictError(
            f"install {install.id} is {install.lifecycle}: there is nothing to {what}",
            code="not-installed",
            fix="ask for the install again",
        )


def _checked(
    session: Session,
    install: Install,
    registered: BlueprintVersion,
    inputs: dict[str, Any],
    control_plane_cidrs: Sequence[str],
) -> dict[str, Any]:
    boundary = get_boundary(session, str(install.boundary_id))
    connection = get_for_boundary(session, boundary.id)
    hosting.require_guests_kept(session, boundary.id, inputs)
    return plan_inputs(
        BlueprintManifest.model_validate(registered.manifest),
        boundary,
        connection,
        session.scalars(select(Organization.name)).one(),
        install.id,
        inputs,
        control_plane_cidrs,
        hosting.require_host(session, boundary, connection, inputs),
    )


def _version(session: Session, base: InstallRevision, wanted: str | None) -> BlueprintVersion:
    """Return the version to go to: of the same blueprint, the revision's own without a wish."""
    own = session.scalars(
        select(BlueprintVersion).where(BlueprintVersion.id == base.blueprint_version_id)
    ).one()
    return own if wanted is None else blueprints.get_version(session, own.name, wanted)


def _inputs(asked: UpdateIn, base: dict[str, Any]) -> dict[str, Any]:
    """Return the inputs that are asked for. Raises: InvalidRequestError."""
    inputs = {**(base if asked.inputs is None else asked.inputs), **asked.change}
    unknown = sorted(k for k, v in asked.change.items() if v is None and k not in base)
    if unknown:
        raise InvalidRequestError(
            f"the install was not given {unknown[0]}, so it cannot be taken out",
            field=f"change.{unknown[0]}",
            fix="leave it out",
        )
    return {key: value for key, value in inputs.items() if value is not None}
