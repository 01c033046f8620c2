"""Routes that check and apply an organization's file."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Request

from controlplane.adapters.aws.accounts import AccountDirectory
from controlplane.core.http import Context, Transaction, TransactionRoute
from controlplane.domains.documents import service
from controlplane.domains.documents.schemas import AppliedBoundaryOut, AppliedOut, ValidationOut

router = APIRouter(prefix="/v1", tags=["organizations"], route_class=TransactionRoute)

# The raw document, not its model: all problems are reported at once, each with its fix.
RawDocument = Annotated[dict[str, Any], Body(description="The file, as `wire.organization` has it")]


async def current_directory(request: Request) -> AccountDirectory:
    """Return who knows which accounts exist."""
    directory: AccountDirectory = request.app.state.accounts
    return directory


Directory = Annotated[AccountDirectory, Depends(current_directory)]


@router.post("/organizations:validate", operation_id="organization_validate")
def organization_validate(
    body: RawDocument, session: Transaction, ctx: Context, directory: Directory
) -> ValidationOut:
    """Check a file with all that the server knows; change nothing."""
    return ValidationOut(problems=service.problems_of(session, ctx, body, directory))


@router.put("/organizations/{name}", operation_id="organization_apply")
def organization_apply(
    name: str, body: RawDocument, session: Transaction, ctx: Context, directory: Directory
) -> AppliedOut:
    """Apply a file; with any problem nothing changes and all problems are reported."""
    applied = service.apply(session, ctx, name, body, directory)
    return AppliedOut(
        organization_id=applied.organization_id,
        name=name,
        digest=applied.digest,
        boundaries=[AppliedBoundaryOut(id=b.id, name=b.name) for b in applied.boundaries],
    )
