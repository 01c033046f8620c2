"""Queries on installs and their revisions."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session, defer

from controlplane.core.errors import ConflictError, NotFoundError
from controlplane.core.run_engine.tables import Run
from controlplane.tables.catalog import BlueprintVersion
from controlplane.tables.installs import Install, InstallRevision
from controlplane.tables.organizations import Boundary

APPLYING = ("install.provision", "install.update", "install.restore")
"""Kinds of the runs that bring an install to a revision."""
TAKEOVER = "install.takeover"
"""Kind of the runs that make take-over kits: a reader's, and no part of the install's own story."""
SNAPSHOTS = "install.snapshots"
"""Kind of the runs that list snapshots of the state: likewise."""
_READERS = (TAKEOVER, SNAPSHOTS)


_HAS_APPLIED = or_(
    and_(Run.kind.in_(APPLYING), Run.state == "succeeded"),
    and_(Run.kind == APPLYING[0], Run.outcome == "kept"),
)


def get_install(session: Session, install_id: UUID) -> Install:
    """Return an install in scope. Raises: NotFoundError."""
    found = session.scalars(select(Install).where(Install.id == install_id)).one_or_none()
    if found is None:
        raise NotFoundError(f"there is no install {install_id}")
    return found


def find_by_name(session: Session, boundary_id: UUID, name: str) -> Install | None:
    """Return a boundary's install by name with its row locked, or None."""
    return session.scalars(
        select(Install)
        .where(Install.boundary_id == boundary_id, Install.name == name)
        .with_for_update()
    ).one_or_none()


def list_installs(session: Session) -> list[Install]:
    """Return all installs in scope, newest first."""
    return list(session.scalars(select(Install).order_by(Install.created_at.desc())))


def get_applied_run(session: Session, install_id: UUID) -> Run:
    """Return the run that last brought the install about, or on to another revision.

    Raises: ConflictError when none has.
    """
    found = session.scalars(
        select(Run)
        .where(Run.install_id == install_id, _HAS_APPLIED)
        .order_by(Run.created_at.desc())
        .limit(1)
    ).one_or_none()
    if found is None:
        raise ConflictError(
            f"no run has brought install {install_id} about",
            code="not-installed",
            fix="ask for the install again",
        )
    return found


def applied_revisions(session: Session, install_ids: Collection[UUID]) -> dict[UUID, int]:
    """Return the revision that a run applied last, for those of many installs that have one."""
    rows = session.execute(
        select(Run.install_id, Run.params["revision"].as_integer())
        .where(Run.install_id.in_(install_ids), _HAS_APPLIED, Run.params.has_key("revision"))
        .order_by(Run.created_at)
    )
    return {install: number for install, number in rows if install is not None}


def get_revision(session: Session, install_id: UUID, number: int) -> InstallRevision:
    """Return a revision of an install by number. Raises: NotFoundError naming the newest."""
    found = session.scalars(
        select(InstallRevision).where(
            InstallRevision.install_id == install_id, InstallRevision.number == number
        )
    ).one_or_none()
    if found is None:
        newest = list_revisions(session, install_id)[0][0].number
        raise NotFoundError(
            f"install {install_id} has no revision {number}",
            field="revision",
            fix=f"revisions 1 to {newest} exist",
        )
    return found


def list_revisions(
    session: Session, install_id: UUID
) -> list[tuple[InstallRevision, BlueprintVersion]]:
    """Return the revisions of an install with their blueprint versions, newest first."""
    rows = session.execute(
        select(InstallRevision, BlueprintVersion)
        .join(BlueprintVersion, BlueprintVersion.id == InstallRevision.blueprint_version_id)
        .where(InstallRevision.install_id == install_id)
        .order_by(InstallRevision.number.desc())
    )
    return [(revision, version) for revision, version in rows]


def list_revisions_of(
    session: Session, install_ids: Collection[UUID]
) -> list[tuple[InstallRevision, BlueprintVersion]]:
    """Return the revisions of many installs with their blueprint versions, newest first."""
    rows = session.execute(
        select(InstallRevision, BlueprintVersion)
        .join(BlueprintVersion, BlueprintVersion.id == InstallRevision.blueprint_version_id)
        .where(InstallRevision.install_id.in_(install_ids))
        .order_by(InstallRevision.number.desc())
    )
    return [(revision, version) for revision, version in rows]


def list_runs_of(session: Session, install_ids: Collection[UUID]) -> list[Run]:
    """Return the runs of many installs, newest first, without those of readers."""
    return list(
        session.scalars(
            select(Run)
            .where(Run.install_id.in_(install_ids), Run.kind.not_in(_READERS))
            .order_by(Run.created_at.desc())
            .options(defer(Run.plan), defer(Run.params))  # large, and shown by the run itself
        )
    )


def boundary_names(session: Session, boundary_ids: Collection[UUID]) -> dict[UUID, str]:
    """Return the names of boundaries by id."""
    rows = session.execute(select(Boundary.id, Boundary.name).where(Boundary.id.in_(boundary_ids)))
    return {row.id: row.name for row in rows}
