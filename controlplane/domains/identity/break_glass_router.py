"""Routes on the break-glass administrator, and the status that tells staff when it is open."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from controlplane.core.client_address import client_address
from controlplane.core.http import (
    Context,
    CurrentDatabase,
    Transaction,
    TransactionRoute,
    request_id,
)
from controlplane.domains.identity import break_glass, service
from controlplane.domains.identity.route_table import STAFF
from controlplane.domains.identity.schemas import PersonOut, person_out

router = APIRouter(prefix="/v1", tags=["break-glass"], route_class=TransactionRoute)
open_router = APIRouter(prefix="/v1", tags=["break-glass"])
"""Proves the sealed secret in its body, so it stands outside the authorizer's route class."""


Part = Annotated[str, Field(min_length=40, max_length=200, repr=False)]


class BreakGlassIn(BaseModel):
    """Both parts of the sealed secret, in whichever order, and why it is used."""

    model_config = ConfigDict(extra="forbid")

    first_part: Part
    second_part: Part
    """Each is given by its own custodian, who thereby answers for the opening."""
    reason: str = Field(min_length=10, max_length=2000)


class BreakGlassSessionOut(BaseModel):
    """The open session; the only answer that ever has its token."""

    token: str
    ends_at: datetime


class BreakGlassOut(BaseModel):
    """Whether the break-glass administrator is open now, and by whom and why."""

    open: bool
    sealed: bool
    """False once the secret was used: somebody has to seal a new one."""
    since: datetime | None
    ends_at: datetime | None
    by: list[PersonOut]
    """The two custodians; nobody while it is closed, and for who is not staff."""
    reason: str | None


class StatusOut(BaseModel):
    """What staff should know of the control plane itself."""

    break_glass: BreakGlassOut


@open_router.post("/break-glass/open", operation_id="break_glass_open", status_code=201)
def break_glass_open(
    body: BreakGlassIn, request: Request, database: CurrentDatabase
) -> BreakGlassSessionOut:
    """Open the sealed administrator for 30 minutes; every organization is told."""
    token, ends_at = break_glass.open_sealed(
        database,
        request_id(request),
        client_address(request),
        parts=(body.first_part, body.second_part),
        reason=body.reason,
    )
    return BreakGlassSessionOut(token=token, ends_at=ends_at)


@router.post("/break-glass/close", operation_id="break_glass_close", status_code=204)
def break_glass_close(session: Transaction, ctx: Context) -> None:
    """End an open break-glass session before its time."""
    break_glass.close(session, ctx)


@router.get("/status", operation_id="status_show")
def status_show(session: Transaction, ctx: Context) -> StatusOut:
    """Show what is out of the ordinary; by whom and why is for staff only."""
    is_staff = any(r.role in STAFF for r in service.held_roles(session, ctx.actor))
    found = break_glass.state(session)
    return StatusOut(
        break_glass=BreakGlassOut(
            open=found.opened_at is not None,
            sealed=found.is_sealed,
            since=found.opened_at,
            ends_at=found.ends_at,
            by=[person_out(card) for card in found.by] if is_staff else [],
            reason=found.reason if is_staff else None,
        )
    )
