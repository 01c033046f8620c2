"""Queries on offered models and on a boundary's model versions."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from controlplane.tables.catalog import Artifact, ModelVersion, OfferedModel


@dataclass(frozen=True)
class VersionWithArtifact:
    """A model version and the bytes it stands for."""

    version: ModelVersion
    artifact: Artifact


def list_offered(session: Session) -> dict[str, OfferedModel]:
    """Return the newest offered version of each model by name."""
    rows = session.scalars(select(OfferedModel).order_by(OfferedModel.registered_at))
    return {row.name: row for row in rows}


def find_artifact(session: Session, boundary_id: UUID, digest: str) -> Artifact | None:
    """Return a boundary's artifact by digest, or None."""
    return session.scalars(
        select(Artifact).where(Artifact.boundary_id == boundary_id, Artifact.digest == digest)
    ).one_or_none()


def list_versions(session: Session, boundary_id: UUID) -> list[VersionWithArtifact]:
    """Return the model versions of a boundary that are not retired, bases first."""
    rows = session.execute(
        select(ModelVersion, Artifact)
        .join(
            Artifact,
            (Artifact.boundary_id == ModelVersion.boundary_id)
            & (Artifact.id == ModelVersion.artifact_id),
        )
        .where(ModelVersion.boundary_id == boundary_id, ModelVersion.retired_at.is_(None))
        .order_by(ModelVersion.kind.desc(), ModelVersion.name)
    )
    return [VersionWithArtifact(version, artifact) for version, artifact in rows]
