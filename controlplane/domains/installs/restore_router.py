"""Routes on the restoration of an install, and on the records it can begin from."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from controlplane.core.http import Context, Transaction, TransactionRoute
from controlplane.domains.installs import restore
from controlplane.domains.installs.schemas import InstallCreatedOut
from wire.run_event import RunState

router = APIRouter(prefix="/v1", tags=["installs"], route_class=TransactionRoute)


class RestoreIn(BaseModel):
    """Under which grant an install is made whole again, why, and from which record."""

    model_config = ConfigDict(extra="forbid")

    grant_id: UUID
    reason: str = Field(min_length=1, max_length=500)
    snapshot: int | None = Field(default=None, ge=1)
    """Number of a snapshot of the engine's state; None begins from the present one."""
    empty: bool = False
    """Begin without a record: everything is looked for in the account."""


class SnapshotsStartedOut(BaseModel):
    """The run that makes the list."""

    run_id: UUID


class SnapshotOut(BaseModel):
    """The engine's state of a boundary as it was put aside at one moment."""

    number: int
    label: str
    """Before what it was taken."""
    taken_at: datetime
    run_id: UUID
    """The run that took it."""
    stacks: list[str]


class SnapshotsOut(BaseModel):
    """The snapshots of an install's state, newest first."""

    state: RunState
    """Of the run that makes the list."""
    snapshots: list[SnapshotOut] | None
    """None before it is made."""


@router.post(
    "/installs/{install_id}/restore", operation_id="install_restore_request", status_code=202
)
def install_restore_request(
    install_id: UUID, body: RestoreIn, session: Transaction, ctx: Context
) -> InstallCreatedOut:
    """Ask for a restoration under an active grant; a second person approves what it would do."""
    install, run_id = restore.request_restore(
        session,
        ctx,
        install_id,
        grant_id=body.grant_id,
        reason=body.reason,
        snapshot=body.snapshot,
        empty=body.empty,
    )
    return InstallCreatedOut(install_id=install.id, run_id=run_id)


@router.post(
    "/installs/{install_id}/snapshots", operation_id="install_snapshots_request", status_code=202
)
def install_snapshots_request(
    install_id: UUID, session: Transaction, ctx: Context
) -> SnapshotsStartedOut:
    """Ask for the list of the records that a restoration can begin from; needs no grant."""
    return SnapshotsStartedOut(run_id=restore.request_snapshots(session, ctx, install_id))


@router.get("/installs/{install_id}/snapshots/{run_id}", operation_id="install_snapshots_show")
def install_snapshots_show(
    install_id: UUID, run_id: UUID, session: Transaction, ctx: Context
) -> SnapshotsOut:
    """Show a list of snapshots, once its run has made it."""
    found = restore.get_snapshots(session, install_id, run_id)
    listed = found.output["snapshots"] if found.output is not None else None
    return SnapshotsOut(
        state=found.run.state,
        snapshots=None if listed is None else [SnapshotOut.model_validate(s) for s in listed],
    )
