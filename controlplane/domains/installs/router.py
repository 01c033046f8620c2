"""Routes on installs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from sqlalchemy import select
from sqlalchemy.orm import Session

from controlplane.core.http import Context, Transaction, TransactionRoute
from controlplane.core.run_engine.tables import Run
from controlplane.domains.boundaries.repository import get_boundary
from controlplane.domains.installs import drift, removal, repository, service, update
from controlplane.domains.installs.schemas import (
    AcceptanceIn,
    DriftFindingOut,
    DriftOut,
    DriftPropertyOut,
    DriftScanIn,
    InstallCreatedOut,
    InstallIn,
    InstallOut,
    InstallRunOut,
    InstallsOut,
    RemovalIn,
    RetainedOut,
    RevisionOut,
    UpdateIn,
)
from controlplane.tables.catalog import BlueprintVersion
from controlplane.tables.drift import DriftFinding
from controlplane.tables.installs import Install, InstallRevision
from controlplane.tables.organizations import Organization

router = APIRouter(prefix="/v1", tags=["installs"], route_class=TransactionRoute)


async def our_cidrs(request: Request) -> tuple[str, ...]:
    """Return the addresses from which the control plane reaches clusters, as configured."""
    cidrs: tuple[str, ...] = request.app.state.settings.control_plane_cidrs
    return cidrs


OurCidrs = Annotated[tuple[str, ...], Depends(our_cidrs)]


@router.post("/installs", operation_id="install_request", status_code=202)
def install_request(
    body: InstallIn, session: Transaction, ctx: Context, cidrs: OurCidrs
) -> InstallCreatedOut:
    """Ask for an install under an active grant; the run begins by planning."""
    boundary = get_boundary(session, body.boundary)
    organization = session.scalars(select(Organization.name)).one()
    install, run_id = service.request_install(
        session,
        ctx,
        boundary,
        organization=organization,
        blueprint=body.blueprint or boundary.blueprint,
        version=body.version or boundary.blueprint_version,
        inputs=body.inputs if body.inputs is not None else boundary.inputs,
        grant_id=body.grant_id,
        control_plane_cidrs=cidrs,
    )
    return InstallCreatedOut(install_id=install.id, run_id=run_id)


@router.post(
    "/installs/{install_id}/update", operation_id="install_update_request", status_code=202
)
def install_update_request(
    install_id: UUID, body: UpdateIn, session: Transaction, ctx: Context, cidrs: OurCidrs
) -> InstallCreatedOut:
    """Ask for an update under an active grant; a second person approves what it would change."""
    install, run_id = update.request_update(
        session, ctx, install_id, body, control_plane_cidrs=cidrs
    )
    return InstallCreatedOut(install_id=install.id, run_id=run_id)


@router.post(
    "/installs/{install_id}/removal", operation_id="install_removal_request", status_code=202
)
def install_removal_request(
    install_id: UUID, body: RemovalIn, session: Transaction, ctx: Context
) -> InstallCreatedOut:
    """Ask for an install's removal under an active grant; a second person approves the list."""
    install, run_id = removal.request_removal(
        session, ctx, install_id, grant_id=body.grant_id, reason=body.reason, purge=body.purge
    )
    return InstallCreatedOut(install_id=install.id, run_id=run_id)


@router.post(
    "/installs/{install_id}/drift-scans", operation_id="install_drift_scan", status_code=202
)
def install_drift_scan(
    install_id: UUID, body: DriftScanIn, session: Transaction, ctx: Context
) -> InstallCreatedOut:
    """Compare the account with the state under an active grant; a reading run."""
    install, run_id = drift.request_scan(
        session, ctx, install_id, grant_id=body.grant_id, keep_open=body.keep_open
    )
    return InstallCreatedOut(install_id=install.id, run_id=run_id)


@router.get("/installs/{install_id}/drift", operation_id="install_drift_show")
def install_drift_show(install_id: UUID, session: Transaction, ctx: Context) -> DriftOut:
    """Show what the last scan found, resource by resource and property by property."""
    install = repository.get_install(session, install_id)
    return DriftOut(
        drift=drift.axis(install, is_drifting=bool(drift.drifting(session, [install_id]))),
        drift_at=install.drift_at,
        findings=[_drift_finding(row) for row in drift.open_findings(session, install_id)],
        ended=[_drift_finding(row) for row in drift.ended_findings(session, install_id)],
    )


@router.post(
    "/installs/{install_id}/drift/{finding_id}/proposal", operation_id="drift_acceptance_propose"
)
def drift_acceptance_propose(
    install_id: UUID, finding_id: UUID, body: AcceptanceIn, session: Transaction, ctx: Context
) -> DriftFindingOut:
    """Propose that a change may stay for some days."""
    row = drift.propose(session, ctx, install_id, finding_id, reason=body.reason, days=body.days)
    return _drift_finding(row)


@router.post("/installs/{install_id}/drift/{finding_id}/accept", operation_id="drift_accept")
def drift_accept(
    install_id: UUID, finding_id: UUID, session: Transaction, ctx: Context
) -> DriftFindingOut:
    """Accept what somebody else proposed."""
    return _drift_finding(drift.accept(session, ctx, install_id, finding_id))


@router.get("/installs", operation_id="install_list")
def install_list(session: Transaction, ctx: Context) -> InstallsOut:
    """List installs, newest first."""
    return InstallsOut(installs=_shown(session, repository.list_installs(session)))


@router.get("/installs/{install_id}", operation_id="install_show")
def install_show(install_id: UUID, session: Transaction, ctx: Context) -> InstallOut:
    """Show an install with its revisions and runs."""
    (shown,) = _shown(session, [repository.get_install(session, install_id)])
    return shown


def _shown(session: Session, installs: Sequence[Install]) -> list[InstallOut]:
    """Return installs with revisions and runs: a fixed number of queries for any number of them."""
    ids = [install.id for install in installs]
    revisions: dict[UUID, list[RevisionOut]] = {i: [] for i in ids}
    runs: dict[UUID, list[InstallRunOut]] = {i: [] for i in ids}
    for revision, version in repository.list_revisions_of(session, ids):
        revisions[revision.install_id].append(_revision(revision, version))
    for run in repository.list_runs_of(session, ids):
        if run.install_id is not None:
            runs[run.install_id].append(_run(run))
    drifting = drift.drifting(session, ids)
    applied = repository.applied_revisions(session, ids)
    names = repository.boundary_names(session, {i.boundary_id for i in installs})
    return [
        InstallOut(
            id=install.id,
            boundary_id=install.boundary_id,
            boundary=names[install.boundary_id],
            name=install.name,
            lifecycle=install.lifecycle,
            health=install.health,
            drift=drift.axis(install, is_drifting=install.id in drifting),
            drift_at=install.drift_at,
            access=install.access,
            created_at=install.created_at,
            updated_at=install.updated_at,
            revisions=revisions[install.id],
            applied_revision=applied.get(install.id),
            retained=[RetainedOut.model_validate(item) for item in install.retained],
            run_ids=[run.id for run in runs[install.id]],
            runs=runs[install.id],
        )
        for install in installs
    ]


def _drift_finding(row: DriftFinding) -> DriftFindingOut:
    return DriftFindingOut(
        id=row.id,
        run_id=row.run_id,
        stack=row.stack,
        type=row.type,
        name=row.name,
        cloud_id=row.cloud_id,
        change=row.change,
        properties=[DriftPropertyOut.model_validate(item) for item in row.properties],
        found_at=row.found_at,
        reason=row.reason,
        days=row.days,
        accepted_until=row.accepted_until,
        is_accepted=drift.is_accepted(row),
        resolved_at=row.resolved_at,
        remediated_by=row.remediated_by,
        outcome=drift.outcome(row),
    )


def _revision(revision: InstallRevision, version: BlueprintVersion) -> RevisionOut:
    return RevisionOut(
        number=revision.number,
        blueprint=version.name,
        blueprint_version=version.version,
        blueprint_digest=version.digest,
        inputs=revision.inputs,
        inputs_digest=revision.inputs_digest,
        grant_id=revision.grant_id,
        created_at=revision.created_at,
    )


def _run(run: Run) -> InstallRunOut:
    return InstallRunOut(
        id=run.id,
        kind=run.kind,
        state=run.state,
        outcome=run.outcome,
        requested_by_name=run.actor["display"],
        created_at=run.created_at,
        started_at=run.started_at,
        finished_at=run.finished_at,
    )
