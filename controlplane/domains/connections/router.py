"""Routes on connections: the role template and probes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request

from controlplane.core import audit
from controlplane.core.http import Context, Transaction, TransactionRoute
from controlplane.domains.boundaries.repository import get_boundary
from controlplane.domains.connections import repository, service
from controlplane.domains.connections.schemas import (
    ConnectionOut,
    TemplateOut,
    VerificationIn,
    VerificationOut,
)
from controlplane.domains.connections.service import Pins
from controlplane.tables.organizations import ConnectionVerification, VerificationState
from iam.role_template import CLOSED_UNTIL, stack_name

router = APIRouter(prefix="/v1", tags=["connections"], route_class=TransactionRoute)


async def current_pins(request: Request) -> Pins:
    """Return what every role template names, as configured."""
    pins: Pins = request.app.state.pins
    return pins


CurrentPins = Annotated[Pins, Depends(current_pins)]


@router.get("/boundaries/{boundary}/connection", operation_id="connection_show")
def connection_show(boundary: str, session: Transaction, ctx: Context) -> ConnectionOut:
    """Show how a boundary's account is reached."""
    found = get_boundary(session, boundary)
    connection = repository.get_for_boundary(session, found.id)
    return ConnectionOut.model_validate(connection, from_attributes=True)


@router.get("/connections/{connection_id}/template", operation_id="connection_template")
def connection_template(
    connection_id: UUID, session: Transaction, ctx: Context, pins: CurrentPins
) -> TemplateOut:
    """Render the CloudFormation template and the parameters of the next stack operation."""
    connection, boundary = repository.get_connection(session, connection_id)
    grant = repository.find_open_grant(session, boundary.id)
    audit.append(
        session,
        ctx,
        "connection.template-read",
        target=f"connection/{connection.id}",
        boundary_id=boundary.id,
    )
    until = grant.grant_until if grant is not None else None
    template, digest = service.handed_over(session, connection, boundary, pins, grant)
    return TemplateOut(
        stack_name=stack_name(boundary.name),
        template=template,
        parameters={
            "Boundary": boundary.name,
            "VendorPrincipal": pins.vendor_principal,
            "ExternalId": connection.external_id,
            "ControlPlaneKey": pins.control_plane_fingerprint,
            "ReleaseKey": pins.release_fingerprint,
            "GrantNumber": str(grant.number) if grant is not None else "0",
            "GrantUntil": iso(until) if until is not None else CLOSED_UNTIL,
        },
        policy_digest=digest,
        pins={
            "ringfence:control-plane-key": pins.control_plane_fingerprint,
            "ringfence:release-key": pins.release_fingerprint,
        },
    )


@router.post(
    "/connections/{connection_id}/verifications",
    operation_id="verification_request",
    status_code=202,
)
def verification_request(
    connection_id: UUID, body: VerificationIn, session: Transaction, ctx: Context
) -> VerificationOut:
    """Ask for a probe of the role with our, no, a wrong and a foreign external id."""
    connection, _ = repository.get_connection(session, connection_id)
    row = service.request_verification(
        session, ctx, connection, expect=body.expect, grant_id=body.grant_id
    )
    return _out(row)


@router.get("/verifications/{verification_id}", operation_id="verification_show")
def verification_show(verification_id: UUID, session: Transaction, ctx: Context) -> VerificationOut:
    """Show a probe and what it found."""
    return _out(repository.get_verification(session, verification_id))


def iso(moment: datetime) -> str:
    """Return a moment as the template's parameters take it: UTC, whole seconds, `Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _out(row: ConnectionVerification) -> VerificationOut:
    passed = None
    if row.finished_at is not None:
        passed = row.state == VerificationState.PASSED
    return VerificationOut(
        id=row.id,
        connection_id=row.connection_id,
        grant_id=row.grant_id,
        expect=row.expect,
        state=row.state,
        passed=passed,
        attempts=row.attempts,
        requested_at=row.requested_at,
        finished_at=row.finished_at,
    )
