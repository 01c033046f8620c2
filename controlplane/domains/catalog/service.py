"""Register offered models (bootstrap) and give a boundary the versions its file names.

The same bytes are an artifact row per boundary: an adapter carries the data it was trained on, so
no row is shared across the wall.
"""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from controlplane.core import audit
from controlplane.core.actor import OpContext
from controlplane.core.clock import now
from controlplane.core.errors import ConflictError, InvalidRequestError
from controlplane.core.ids import new_id
from controlplane.domains.catalog import repository
from controlplane.tables.catalog import Artifact, ModelVersion, OfferedModel


def offer(
    session: Session,
    ctx: OpContext,
    *,
    name: str,
    version: str,
    kind: str,
    format: str,
    digest: str,
    size_bytes: int,
    base_digest: str | None,
) -> bool:
    """Register a model file of the artifact store once; return whether it was new.

    Raises: ConflictError when this version is there with another digest.
    """
    existing = session.scalars(
        select(OfferedModel).where(OfferedModel.name == name, OfferedModel.version == version)
    ).one_or_none()
    if existing is not None:
        if existing.digest != digest:
            raise ConflictError(
                f"model {name} {version} is registered with digest {existing.digest}, not {digest}",
                fix="raise the version: a registered version never changes",
            )
        return False
    row = OfferedModel(
        id=new_id(),
        name=name,
        version=version,
        kind=kind,
        format=format,
        digest=digest,
        size_bytes=size_bytes,
        base_digest=base_digest,
    )
    session.add(row)
    session.flush()
    audit.append(
        session,
        ctx,
        "model.registered",
        target=f"offered-model/{row.id}",
        detail={"name": name, "version": version, "kind": kind, "digest": digest},
    )
    return True


def ensure_boundary_models(
    session: Session,
    ctx: OpContext,
    *,
    organization_id: UUID,
    boundary_id: UUID,
    base: str,
    adapters: tuple[str, ...],
) -> list[UUID]:
    """Give the boundary this base and these adapters; return the ids of their versions.

    Raises: InvalidRequestError for an unknown model, or an adapter trained on another base.
    """
    offered = repository.list_offered(session)
    base_model = _offered(offered, base, "base")
    present = {
        (v.version.name, v.version.version): v.version
        for v in repository.list_versions(session, boundary_id)
    }
    place = (organization_id, boundary_id)
    base_row = _ensure_version(session, ctx, place, present, base_model, None)
    ids = [base_row.id]
    for name in adapters:
        adapter = _offered(offered, name, "adapter")
        if adapter.base_digest != base_model.digest:
            raise InvalidRequestError(
                f"adapter {name!r} was trained on another base than {base!r}",
                field="models.adapters",
                fix=f"use an adapter of {base_model.digest}",
            )
        ids.append(_ensure_version(session, ctx, place, present, adapter, base_row.id).id)
    for row in present.values():
        if row.id not in ids:
            row.retired_at = now()
    session.flush()
    return ids


def _offered(offered: dict[str, OfferedModel], name: str, kind: str) -> OfferedModel:
    found = offered.get(name)
    if found is None or found.kind != kind:
        raise InvalidRequestError(f"there is no {kind} model {name!r}", field="models")
    return found


def _ensure_version(
    session: Session,
    ctx: OpContext,
    place: tuple[UUID, UUID],
    present: dict[tuple[str, str], ModelVersion],
    model: OfferedModel,
    parent_id: UUID | None,
) -> ModelVersion:
    known = present.get((model.name, model.version))
    if known is not None:
        return known
    organization_id, boundary_id = place
    artifact = repository.find_artifact(session, boundary_id, model.digest)
    if artifact is None:
        artifact = Artifact(
            organization_id=organization_id,
            boundary_id=boundary_id,
            id=new_id(),
            digest=model.digest,
            size_bytes=model.size_bytes,
            format=model.format,
        )
        session.add(artifact)
        session.flush()
    row = ModelVersion(
        organization_id=organization_id,
        boundary_id=boundary_id,
        id=new_id(),
        name=model.name,
        version=model.version,
        kind=model.kind,
        artifact_id=artifact.id,
        parent_id=parent_id,
    )
    session.add(row)
    session.flush()
    audit.append(
        session,
        ctx,
        "model.registered",
        target=f"model-version/{row.id}",
        boundary_id=boundary_id,
        organization_id=organization_id,
        detail={"name": row.name, "kind": row.kind, "digest": model.digest},
    )
    return row
