"""Ask for an install: inputs checked, grant active, then one transaction with run and outbox.

Called by the router. The run is written in `planning` under the active grant, since planning reads
the account (decision 7); the approval gates the apply only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from controlplane.core import audit, run_engine
from controlplane.core.actor import OpContext
from controlplane.core.clock import now
from controlplane.core.errors import ConflictError, ForbiddenError, InvalidRequestError
from controlplane.core.ids import new_id
from controlplane.domains.blueprint_registry import service as blueprints
from controlplane.domains.connections.repository import get_for_boundary
from controlplane.domains.documents.inputs import SERVER_INPUTS, schema_problems
from controlplane.domains.grants import service as grants
from controlplane.domains.installs import repository
from controlplane.domains.installs.hosting import Host, require_host
from controlplane.tables.catalog import BlueprintVersion
from controlplane.tables.installs import Install, InstallRevision
from controlplane.tables.organizations import Boundary, CloudConnection
from proof.canonical import digest
from wire.manifest import BlueprintManifest

PROVISION = "install.provision"
BUSY = frozenset({"requested", "installing", "updating", "removing"})


def plan_inputs(
    manifest: BlueprintManifest,
    boundary: Boundary,
    connection: CloudConnection,
    organization: str,
    install_id: UUID,
    given: dict[str, Any],
    control_plane_cidrs: Sequence[str],
    host: Host | None,
) -> dict[str, Any]:
    """Return the given inputs once, with what the server adds, they fit the blueprint's schema.

    Raises: InvalidRequestError whose `problems` name every wrong input.
    """
    reserved = sorted(set(given) & set(SERVER_INPUTS))
    if reserved:
        raise InvalidRequestError(
            f"the control plane fills in {', '.join(reserved)}",
            field=f"inputs.{reserved[0]}",
            fix="leave them out",
        )
    added = {
        "organization": organization,
        "boundary": boundary.name,
        "install_id": str(install_id),
        "account": connection.account,
        "region": connection.region,
        "partition": connection.partition,
        "control_plane_cidrs": list(control_plane_cidrs),
        **({"cidr": host.cidr} if host is not None else {}),
    }
    known = manifest.inputs_schema.get("properties")
    names = set(known) if isinstance(known, dict) else set(added)
    complete = {**{k: v for k, v in added.items() if k in names}, **given}
    problems = schema_problems("inputs", complete, manifest.inputs_schema)
    if problems:
        raise InvalidRequestError(
            f"the inputs do not fit blueprint {manifest.name} {manifest.version}",
            code="invalid-inputs",
            field=problems[0].path,
            fix=problems[0].fix,
            detail={"problems": [p.model_dump() for p in problems]},
        )
    return given


def request_install(
    session: Session,
    ctx: OpContext,
    boundary: Boundary,
    *,
    organization: str,
    blueprint: str,
    version: str,
    inputs: dict[str, Any],
    grant_id: UUID,
    control_plane_cidrs: Sequence[str],
) -> tuple[Install, UUID]:
    """Write install, revision and run; return the install and the run's id.

    Raises: NotFoundError for the blueprint, InvalidRequestError for inputs, ConflictError for a
    grant that is not active or an install that is busy.
    """
    if ctx.actor.principal_id is None:
        raise ForbiddenError("only a person can ask for an install")
    registered = blueprints.get_version(session, blueprint, version)
    manifest = BlueprintManifest.model_validate(registered.manifest)
    connection = get_for_boundary(session, boundary.id)
    install = repository.find_by_name(session, boundary.id, manifest.name)
    install_id = install.id if install is not None else new_id()
    host = require_host(session, boundary, connection, inputs)
    kept = plan_inputs(
        manifest, boundary, connection, organization, install_id, inputs, control_plane_cidrs, host
    )
    grant = grants.require_active(session, grant_id, boundary.id)
    install = _ensure_install(session, ctx, boundary, install, install_id, manifest.name)
    install.host_boundary_id = host.boundary_id if host is not None else None
    revision = add_revision(session, ctx, install, registered, kept, grant.id)
    _audit_request(session, ctx, install, registered, revision)
    run_id = run_engine.create_run(
        session,
        ctx,
        organization_id=boundary.organization_id,
        boundary_id=boundary.id,
        install_id=install.id,
        kind=PROVISION,
    )
    return install, run_id


def _ensure_install(
    session: Session,
    ctx: OpContext,
    boundary: Boundary,
    install: Install | None,
    install_id: UUID,
    name: str,
) -> Install:
    if install is None:
        install = Install(
            organization_id=boundary.organization_id,
            boundary_id=boundary.id,
            id=install_id,
            name=name,
            lifecycle="requested",
            health="unknown",
            drift="unknown",
            access="open",
            created_by=ctx.actor.principal_id,
        )
        session.add(install)
    elif install.lifecycle in BUSY:
        raise ConflictError(
            f"install {install.id} of this boundary is {install.lifecycle}",
            code="install-busy",
            fix="watch its run, or cancel it, before asking again",
            detail={"install_id": str(install.id)},
        )
    elif install.lifecycle == "installed":
        raise ConflictError(
            f"blueprint {name} is installed in this boundary already",
            code="installed",
            fix=f"ask for an update: ringfence install update {install.id}",
            detail={"install_id": str(install.id)},
        )
    else:
        install.lifecycle = "requested"
        install.access = "open"
        install.updated_at = now()
    session.flush()
    return install


def add_revision(
    session: Session,
    ctx: OpContext,
    install: Install,
    registered: BlueprintVersion,
    inputs: dict[str, Any],
    grant_id: UUID,
) -> InstallRevision:
    """Write the next revision: to what a run is to bring the install."""
    earlier = repository.list_revisions(session, install.id)
    revision = InstallRevision(
        organization_id=install.organization_id,
        boundary_id=install.boundary_id,
        id=new_id(),
        install_id=install.id,
        grant_id=grant_id,
        blueprint_version_id=registered.id,
        number=earlier[0][0].number + 1 if earlier else 1,
        inputs=inputs,
        inputs_digest=digest(inputs),
        created_by=ctx.actor.principal_id,
    )
    session.add(revision)
    session.flush()
    return revision


def _audit_request(
    session: Session,
    ctx: OpContext,
    install: Install,
    registered: BlueprintVersion,
    revision: InstallRevision,
) -> None:
    audit.append(
        session,
        ctx,
        "install.requested",
        target=f"install/{install.id}",
        boundary_id=install.boundary_id,
        detail={
            "revision": revision.number,
            "blueprint": f"{registered.name} {registered.version}",
            "blueprint_digest": registered.digest,
            "inputs_digest": revision.inputs_digest,
            "grant_id": str(revision.grant_id),
        },
    )
