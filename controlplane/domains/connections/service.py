"""Make connections, render their role template, ask for probes and keep what they found.

The probe itself is the worker's (`connection.verify`); this module decides what its attempts mean.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from sqlalchemy.orm import Session

from controlplane.core import audit, outbox
from controlplane.core.actor import OpContext
from controlplane.core.clock import now
from controlplane.core.errors import InvalidRequestError
from controlplane.core.ids import new_id
from controlplane.domains.connections import repository
from controlplane.domains.permissions import service as permissions
from controlplane.tables.access import AccessGrant
from controlplane.tables.organizations import (
    Boundary,
    CloudConnection,
    ConnectionState,
    ConnectionVerification,
    VerificationState,
)
from iam.image_statements import IMAGES_PULLED
from iam.role_permissions import opened_template, sealed_document
from iam.role_template import render_template, role_name
from iam.runner_statements import REACH_PUBLIC
from proof.canonical import bytes_digest, digest

VERIFY = "connection.verify"
"""Task that probes; its argument is `verification_id` with its organization and boundary."""
Expectation = Literal["closed", "open"]


@dataclass(frozen=True)
class Pins:
    """What every role template names: who may assume the role, and our keys' fingerprints."""

    vendor_principal: str
    control_plane_fingerprint: str
    release_fingerprint: str


def ensure_connection(
    session: Session,
    ctx: OpContext,
    boundary: Boundary,
    *,
    account: str,
    region: str,
    partition: str,
) -> CloudConnection:
    """Make the boundary's connection with an external id of ours, once."""
    existing = repository.find_for_boundary(session, boundary.id)
    if existing is not None:
        return existing
    row = CloudConnection(
        organization_id=boundary.organization_id,
        boundary_id=boundary.id,
        id=new_id(),
        # 128 random bits; never chosen by the customer (access.md 1).
        external_id=f"ringfence-{secrets.token_hex(16)}",
        account=account,
        region=region,
        partition=partition,
        role_base_name=role_name(boundary.name, 0).removesuffix("-g0"),
        state=ConnectionState.UNVERIFIED,
    )
    session.add(row)
    session.flush()
    audit.append(
        session,
        ctx,
        "connection.created",
        target=f"connection/{row.id}",
        boundary_id=boundary.id,
        organization_id=boundary.organization_id,
        detail={"account": account, "region": region, "partition": partition},
    )
    return row


def template(connection: CloudConnection, boundary: Boundary, pins: Pins) -> dict[str, Any]:
    """Return the CloudFormation template of the connection's one role."""
    return render_template(
        boundary.name,
        vendor_principal=pins.vendor_principal,
        external_id=connection.external_id,
        control_plane_key=pins.control_plane_fingerprint,
        release_key=pins.release_fingerprint,
        reach=reach_of_boundary(boundary),
        host=host_of_boundary(boundary),
        images=images_of_boundary(boundary),
    )


def reach_of_boundary(boundary: Boundary) -> str:
    """Return how the boundary's cluster is reached, as its organization's file says."""
    return str(boundary.target.get("reach", REACH_PUBLIC))


def images_of_boundary(boundary: Boundary) -> str:
    """Return whether the boundary's images are copied, as its organization's file says."""
    return str(boundary.target.get("images", IMAGES_PULLED))


def host_of_boundary(boundary: Boundary) -> str | None:
    """Return in whose cluster the boundary lives, as its inputs say; None: in its own."""
    is_guest = boundary.inputs.get("cluster") == "existing"
    return str(boundary.inputs["host"]) if is_guest else None


def permission_document(
    connection: CloudConnection, boundary: Boundary, pins: Pins
) -> dict[str, Any]:
    """Return the template as a grant keeps it: the External ID is named by its hash."""
    return sealed_document(
        template(connection, boundary, pins), bytes_digest(connection.external_id.encode())
    )


def handed_over(
    session: Session,
    connection: CloudConnection,
    boundary: Boundary,
    pins: Pins,
    grant: AccessGrant | None,
) -> tuple[dict[str, Any], str]:
    """Return the template for the customer and its digest: an open grant's is what was approved."""
    document = permissions.find_approved(session, grant)
    if document is None:
        document = permission_document(connection, boundary, pins)
    return opened_template(document, connection.external_id), digest(document)


def _check_grant(
    session: Session, connection: CloudConnection, expect: Expectation, grant_id: UUID | None
) -> None:
    """Refuse a probe without the grant it is for, or with one that is not this connection's."""
    if expect == "open" and grant_id is None:
        raise InvalidRequestError(
            "an open role is probed for one grant",
            field="grant_id",
            fix="send the id of the approved grant that the customer's stack update opens",
        )
    if grant_id is not None and not repository.has_grant(session, connection, grant_id):
        raise InvalidRequestError(
            f"there is no grant {grant_id} of this connection",
            field="grant_id",
            fix="list the boundary's grants with GET /v1/boundaries/{boundary}/grants",
        )


def request_verification(
    session: Session,
    ctx: OpContext,
    connection: CloudConnection,
    *,
    expect: Expectation,
    grant_id: UUID | None,
) -> ConnectionVerification:
    """Write a probe to be done and enqueue it."""
    _check_grant(session, connection, expect, grant_id)
    row = ConnectionVerification(
        organization_id=connection.organization_id,
        boundary_id=connection.boundary_id,
        id=new_id(),
        connection_id=connection.id,
        grant_id=grant_id,
        expect=expect,
        state=VerificationState.QUEUED,
        attempts=[],
        requested_by=ctx.actor.principal_id,
        requested_at=now(),
    )
    session.add(row)
    session.flush()
    audit.append(
        session,
        ctx,
        "verification.requested",
        target=f"verification/{row.id}",
        boundary_id=connection.boundary_id,
        detail={"expect": expect, "grant_id": str(grant_id) if grant_id else None},
    )
    outbox.enqueue(
        session,
        VERIFY,
        organization_id=row.organization_id,
        boundary_id=row.boundary_id,
        verification_id=row.id,
    )
    return row


def judge(expect: str, attempts: list[dict[str, Any]]) -> tuple[bool, ConnectionState | None]:
    """Return whether the probe passed and what it says about the role; None says nothing.

    Shapes: `{external_id: ours|none|wrong|foreign, allowed, error_code}` per attempt. The role is
    unsafe as soon as anything but our own external id is let in, whatever was expected; short of
    that, a probe that was cut off proves nothing.
    """
    allowed = {a["external_id"] for a in attempts if a["allowed"]}
    tried = {a["external_id"] for a in attempts}
    if allowed - {"ours"}:
        return False, ConnectionState.UNSAFE
    if not {"ours", "none", "wrong"} <= tried:
        return False, None
    state = ConnectionState.OPEN if "ours" in allowed else ConnectionState.CLOSED
    wanted = ConnectionState.OPEN if expect == "open" else ConnectionState.CLOSED
    return state is wanted, state


def record_verification(
    session: Session, ctx: OpContext, verification_id: UUID, attempts: list[dict[str, Any]]
) -> ConnectionVerification:
    """Keep a probe's attempts, judge them, and set the connection's state."""
    row = repository.get_verification(session, verification_id)
    passed, state = judge(row.expect, attempts)
    row.attempts = attempts
    row.state = VerificationState.PASSED if passed else VerificationState.FAILED
    row.finished_at = now()
    connection = repository.get_for_boundary(session, row.boundary_id)
    if state is not None:
        connection.state = state
        connection.state_at = now()
    session.flush()
    audit.append(
        session,
        ctx,
        "verification.finished",
        target=f"verification/{row.id}",
        boundary_id=row.boundary_id,
        organization_id=row.organization_id,
        detail={"expect": row.expect, "passed": passed, "state": state, "attempts": attempts},
    )
    return row
