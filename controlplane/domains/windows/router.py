"""Routes on a boundary's maintenance windows."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter

from controlplane.core.http import Context, Transaction, TransactionRoute
from controlplane.domains.boundaries.repository import get_boundary
from controlplane.domains.windows import service
from controlplane.domains.windows.schemas import OverrideIn, WindowsIn, WindowsOut

router = APIRouter(prefix="/v1", tags=["windows"], route_class=TransactionRoute)


@router.get("/boundaries/{boundary}/windows", operation_id="windows_show")
def windows_show(boundary: str, session: Transaction, ctx: Context) -> WindowsOut:
    """Show when runs may change the boundary, and whether they may now."""
    return service.show(session, get_boundary(session, boundary))


@router.put("/boundaries/{boundary}/windows", operation_id="windows_replace")
def windows_replace(
    boundary: str, body: WindowsIn, session: Transaction, ctx: Context
) -> WindowsOut:
    """Set all windows of the boundary; none lets runs change it at any time."""
    found = get_boundary(session, boundary)
    service.replace_windows(session, ctx, found, body.windows)
    return service.show(session, found)


@router.post(
    "/boundaries/{boundary}/window-overrides",
    operation_id="window_override_request",
    status_code=201,
)
def window_override_request(
    boundary: str, body: OverrideIn, session: Transaction, ctx: Context
) -> WindowsOut:
    """Ask for a time outside the windows; it begins when a second person approves it."""
    found = get_boundary(session, boundary)
    service.request_override(session, ctx, found, body.reason, body.minutes)
    return service.show(session, found)


@router.post(
    "/boundaries/{boundary}/window-overrides/{override_id}/approve",
    operation_id="window_override_approve",
)
def window_override_approve(
    boundary: str, override_id: UUID, session: Transaction, ctx: Context
) -> WindowsOut:
    """Put an override in force that somebody else asked for."""
    found = get_boundary(session, boundary)
    service.approve_override(session, ctx, found, override_id)
    return service.show(session, found)
