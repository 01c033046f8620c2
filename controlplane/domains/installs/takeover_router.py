"""Routes on the take-over kits of an install; the archive leaves only after its audit event."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict

from controlplane.core.http import (
    Context,
    CurrentDatabase,
    StreamRoute,
    Transaction,
    TransactionRoute,
)
from controlplane.domains.installs import takeover
from wire.run_event import RunState
from wire.takeover import Recipient

router = APIRouter(prefix="/v1", tags=["installs"], route_class=TransactionRoute)
file_router = APIRouter(prefix="/v1", tags=["installs"], route_class=StreamRoute)
PIECE = 256 * 1024


class TakeoverIn(BaseModel):
    """For whom a kit is made."""

    model_config = ConfigDict(extra="forbid")

    recipient: Recipient
    """The customer's public key; the private half stays with the customer."""


class TakeoverStartedOut(BaseModel):
    """The run that makes the kit; its id is also the kit's."""

    run_id: UUID


class TakeoverOut(BaseModel):
    """One kit, without its contents."""

    run_id: UUID
    state: RunState
    manifest: dict[str, Any] | None
    """A `ringfence.takeover-file` (`wire.takeover.TakeoverFile`); None before it is made."""
    digest: str | None
    """Of the archive."""
    size_bytes: int | None


@router.post("/installs/{install_id}/takeover", operation_id="takeover_request", status_code=202)
def takeover_request(
    install_id: UUID, body: TakeoverIn, session: Transaction, ctx: Context
) -> TakeoverStartedOut:
    """Ask for the take-over kit of an install, sealed to a key of the customer."""
    _, run_id = takeover.request_kit(session, ctx, install_id, body.recipient)
    return TakeoverStartedOut(run_id=run_id)


@router.get("/installs/{install_id}/takeover/{run_id}", operation_id="takeover_show")
def takeover_show(
    install_id: UUID, run_id: UUID, session: Transaction, ctx: Context
) -> TakeoverOut:
    """Show a kit's signed manifest: what is in it, by digest."""
    kit = takeover.get_kit(session, install_id, run_id)
    made = kit.output or {}
    return TakeoverOut(
        run_id=run_id,
        state=kit.run.state,
        manifest=made.get("manifest"),
        digest=made.get("digest"),
        size_bytes=made.get("size_bytes"),
    )


@file_router.get(
    "/installs/{install_id}/takeover/{run_id}/archive",
    operation_id="takeover_archive",
    response_class=StreamingResponse,
)
def takeover_archive(
    install_id: UUID, run_id: UUID, database: CurrentDatabase, ctx: Context
) -> StreamingResponse:
    """Hand out a finished kit as tar.gz."""
    # The event is committed before the first byte leaves: no download without its record.
    with database.transaction(ctx.scope) as session:
        archive, digest = takeover.open_archive(session, ctx, install_id, run_id)
    return StreamingResponse(
        _pieces(archive),
        media_type="application/gzip",
        headers={
            "Content-Length": str(len(archive)),
            "Content-Disposition": f'attachment; filename="ringfence-takeover-{run_id}.tar.gz"',
            "Cache-Control": "no-store",
            "Ringfence-Digest": digest,
        },
    )


def _pieces(archive: bytes) -> Iterator[bytes]:
    for start in range(0, len(archive), PIECE):
        yield archive[start : start + PIECE]
