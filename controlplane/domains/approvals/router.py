"""`GET /v1/approvals`: what waits for a person; decisions are routes of the things."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query

from controlplane.core.http import Context, Transaction, TransactionRoute
from controlplane.domains.approvals.pending import list_pending
from controlplane.domains.approvals.schemas import ApprovalsOut

router = APIRouter(prefix="/v1", tags=["approvals"], route_class=TransactionRoute)


@router.get("/approvals", operation_id="approval_list")
def approval_list(
    session: Transaction,
    ctx: Context,
    state: Annotated[Literal["pending"], Query(description="What is listed")] = "pending",
) -> ApprovalsOut:
    """List what waits for a person in the caller's boundaries, oldest first."""
    return ApprovalsOut(approvals=list_pending(session, ctx))
