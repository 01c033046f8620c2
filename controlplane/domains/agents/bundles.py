"""Build a boundary's desired state from what the control plane knows: pure but for its queries.

Called by the saga and, later, by every change of entitlements. Only what the boundary's own
catalog, entitlements and keys hold goes in; the countersigner and the agent check it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from controlplane.core.clock import now
from controlplane.core.errors import ConflictError
from controlplane.domains.agents import repository
from controlplane.domains.boundaries.repository import get_boundary
from controlplane.domains.identity.repository import get_cards
from controlplane.tables.catalog import Artifact, Entitlement, GatewayKey, ModelVersion
from controlplane.tables.identity import PrincipalGroup
from wire.bundle import Bundle, BundleKind, DesiredResource
from wire.resources import (
    AccessGroup,
    AccessKey,
    AdapterBindingSpec,
    ArtifactSource,
    BoundaryNetwork,
    GatewayAccessSpec,
    InstanceEngine,
    InstanceServing,
    LocalRef,
    ModelArtifactSpec,
    ModelInstanceSpec,
    NetworkRule,
    S3Source,
    SecurityBoundarySpec,
    Spec,
)

ACCESS_NAME = "gateway"


@dataclass(frozen=True)
class Placement:
    """Where the boundary's artifacts are and with which images it runs; outputs of the run."""

    bucket: str
    region: str
    engine_image: str
    object_keys: Mapping[str, str]
    """Artifact digest -> key in the bucket."""
    network: tuple[NetworkRule, ...] = ()
    """Ways out of the default deny that this cluster needs."""


@dataclass(frozen=True)
class _Model:
    version: ModelVersion
    artifact: Artifact


def namespace_of(boundary_name: str) -> str:
    """Return the boundary's namespace in its cluster."""
    return f"boundary-{boundary_name}"


def build_bundle(session: Session, boundary_id: UUID, placement: Placement) -> Bundle:
    """Return the next bundle of a boundary, above what its agent says it has applied.

    Raises: ConflictError when the boundary has no base model.
    """
    boundary = get_boundary(session, str(boundary_id))
    models = _models(session, boundary_id)
    resources = [
        _resource(
            "SecurityBoundary",
            boundary.name,
            SecurityBoundarySpec(
                display_name=boundary.display_name or boundary.name,
                namespace=namespace_of(boundary.name),
                network=BoundaryNetwork(egress_to=placement.network),
            ),
        ),
        *_model_resources(models, placement),
        _resource("GatewayAccess", ACCESS_NAME, _access(session, boundary_id, now())),
    ]
    return Bundle(
        organization_id=boundary.organization_id,
        boundary_id=boundary.id,
        boundary_name=boundary.name,
        sequence=next_sequence(session, boundary_id),
        issued_at=now(),
        resources=tuple(resources),
    )


def next_sequence(session: Session, boundary_id: UUID) -> int:
    """Return the sequence of the next bundle: above every one published and every one applied.

    The agent's may be the higher one after our database came back from a backup. It refuses what
    is not above it, so the sequence goes on from there.
    """
    published = repository.last_sequence(session, boundary_id)
    return max(published, repository.reported_sequence(session, boundary_id)) + 1


def is_ahead(session: Session, boundary_id: UUID) -> bool:
    """Say whether the agent applied a bundle that we do not know: what runs there is unknown."""
    published = repository.last_sequence(session, boundary_id)
    return repository.reported_sequence(session, boundary_id) > published


def _resource(kind: BundleKind, name: str, spec: Spec) -> DesiredResource:
    return DesiredResource(kind=kind, name=name, spec=spec.to_kubernetes())


def _models(session: Session, boundary_id: UUID) -> list[_Model]:
    rows = session.execute(
        select(ModelVersion, Artifact)
        .join(
            Artifact,
            (Artifact.boundary_id == ModelVersion.boundary_id)
            & (Artifact.id == ModelVersion.artifact_id),
        )
        .where(ModelVersion.boundary_id == boundary_id, ModelVersion.retired_at.is_(None))
        .order_by(ModelVersion.kind.desc(), ModelVersion.name)
    ).all()
    models = [_Model(version, artifact) for version, artifact in rows]
    if not any(m.version.kind == "base" for m in models):
        raise ConflictError(
            "the boundary has no base model", fix="name one in the organization's file: models.base"
        )
    return models


def _model_resources(models: Sequence[_Model], placement: Placement) -> list[DesiredResource]:
    names = {m.version.id: m.version.name for m in models}
    resources: list[DesiredResource] = []
    for model in models:
        base = names.get(model.version.parent_id) if model.version.parent_id else None
        artifact = _artifact(model, base, placement)
        resources.append(_resource("ModelArtifact", model.version.name, artifact))
    for model in models:
        name = model.version.name
        if model.version.kind == "base":
            spec: Spec = ModelInstanceSpec(
                artifact_ref=LocalRef(name=name),
                engine=InstanceEngine(name="llama.cpp", image=placement.engine_image),
                serving=InstanceServing(model_name=name),
            )
            resources.append(_resource("ModelInstance", name, spec))
        elif model.version.parent_id is not None:
            spec = AdapterBindingSpec(
                instance_ref=LocalRef(name=names[model.version.parent_id]),
                artifact_ref=LocalRef(name=name),
                alias=name,
            )
            resources.append(_resource("AdapterBinding", name, spec))
    return resources


def _artifact(model: _Model, base: str | None, placement: Placement) -> ModelArtifactSpec:
    digest = model.artifact.digest
    key = placement.object_keys.get(digest)
    if key is None:
        raise ConflictError(
            f"model {model.version.name} is not in the boundary's bucket yet",
            code="artifact-not-placed",
            fix="run an install under a grant: copying weights needs the cloud",
        )
    return ModelArtifactSpec(
        kind="Adapter" if base else "Base",
        base_ref=LocalRef(name=base) if base else None,
        source=ArtifactSource(
            s3=S3Source(
                bucket=placement.bucket,
                key=key,
                region=placement.region,
            )
        ),
        digest=digest,
        size=model.artifact.size_bytes,
    )


def _access(session: Session, boundary_id: UUID, at: datetime) -> GatewayAccessSpec:
    """Return keys and groups in force: what is expired, revoked or superseded is left out."""
    entitled = session.execute(
        select(PrincipalGroup.name, func.array_agg(ModelVersion.name.distinct()))
        .join(Entitlement, Entitlement.group_id == PrincipalGroup.id)
        .join(
            ModelVersion,
            (ModelVersion.boundary_id == Entitlement.boundary_id)
            & (ModelVersion.id == Entitlement.model_version_id),
        )
        .where(
            Entitlement.boundary_id == boundary_id,
            Entitlement.superseded_at.is_(None),
            Entitlement.valid_from <= at,
            (Entitlement.valid_until.is_(None)) | (Entitlement.valid_until > at),
            ModelVersion.retired_at.is_(None),
        )
        .group_by(PrincipalGroup.name)
        .order_by(PrincipalGroup.name)
    ).all()
    groups = tuple(AccessGroup(name=name, models=tuple(sorted(m))) for name, m in entitled)
    known = {group.name for group in groups}
    rows = session.execute(
        select(GatewayKey, PrincipalGroup.name)
        .join(PrincipalGroup, PrincipalGroup.id == GatewayKey.group_id)
        .where(
            GatewayKey.boundary_id == boundary_id,
            GatewayKey.revoked_at.is_(None),
            GatewayKey.expires_at > at,
        )
        .order_by(GatewayKey.key_hash)
    ).all()
    cards = get_cards(session, [key.owner_id for key, _ in rows])
    keys = tuple(
        AccessKey(
            hash=key.key_hash,
            owner=cards[key.owner_id].subject,
            group=group,
            expires_at=key.expires_at,
        )
        for key, group in rows
        if group in known and key.owner_id in cards
    )
    return GatewayAccessSpec(keys=keys, groups=groups)
