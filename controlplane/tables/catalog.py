"""Blueprint versions (platform), and per boundary: artifacts, model versions, who may use them."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKeyConstraint,
    Index,
    UniqueConstraint,
    func,
)
from sqlalchemy.orm import Mapped, mapped_column

from controlplane.core.db import Base
from controlplane.core.ids import new_id
from controlplane.core.tenancy import (
    BoundaryScoped,
    boundary_table,
    within_boundary,
    within_organization,
)


class BlueprintVersion(Base):
    """One immutable version of a blueprint; `manifest` is `wire.manifest.BlueprintManifest`."""

    __tablename__ = "blueprint_version"
    __table_args__ = (
        UniqueConstraint("name", "version"),
        {"info": {"tenancy": "platform"}},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str]
    version: Mapped[str]
    digest: Mapped[str]
    manifest: Mapped[dict[str, Any]]
    registered_at: Mapped[datetime] = mapped_column(server_default=func.now())


class OfferedModel(Base):
    """A model file that the artifact store holds: name, digest, size. What the vendor can ship."""

    __tablename__ = "offered_model"
    __table_args__ = (
        UniqueConstraint("name", "version"),
        CheckConstraint("kind IN ('base', 'adapter')", name="kind"),
        {"info": {"tenancy": "platform"}},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str]
    version: Mapped[str]
    kind: Mapped[str]
    format: Mapped[str]
    digest: Mapped[str]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    base_digest: Mapped[str | None]
    """Digest of the base model that an adapter was trained on."""
    registered_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Artifact(BoundaryScoped, Base):
    """Bytes that may be in the boundary, by digest."""

    __tablename__ = "artifact"
    __table_args__ = boundary_table(
        UniqueConstraint("boundary_id", "digest"),
        CheckConstraint("digest ~ '^sha256:[0-9a-f]{64}$'", name="digest"),
        CheckConstraint("size_bytes > 0", name="size"),
    )

    digest: Mapped[str]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    format: Mapped[str]


class ModelVersion(BoundaryScoped, Base):
    """A base model or an adapter of the boundary; lineage is `parent_id`."""

    __tablename__ = "model_version"
    __table_args__ = boundary_table(
        within_boundary("artifact_id", "artifact"),
        within_boundary("parent_id", "model_version"),
        UniqueConstraint("boundary_id", "name", "version"),
        CheckConstraint("kind IN ('base', 'adapter')", name="kind"),
        CheckConstraint("(kind = 'adapter') = (parent_id IS NOT NULL)", name="adapter_has_base"),
    )

    name: Mapped[str]
    version: Mapped[str]
    kind: Mapped[str]
    artifact_id: Mapped[UUID]
    parent_id: Mapped[UUID | None]
    registered_at: Mapped[datetime] = mapped_column(server_default=func.now())
    retired_at: Mapped[datetime | None]


class Entitlement(BoundaryScoped, Base):
    """A group may use a model version; bitemporal like role assignments."""

    __tablename__ = "entitlement"
    __table_args__ = boundary_table(
        within_organization("group_id", "principal_group"),
        within_boundary("model_version_id", "model_version"),
        Index(
            "uq_entitlement_current",
            "boundary_id",
            "group_id",
            "model_version_id",
            unique=True,
            postgresql_where="valid_until IS NULL AND superseded_at IS NULL",
        ),
    )

    group_id: Mapped[UUID]
    model_version_id: Mapped[UUID]
    valid_from: Mapped[datetime]
    valid_until: Mapped[datetime | None]
    recorded_at: Mapped[datetime] = mapped_column(server_default=func.now())
    superseded_at: Mapped[datetime | None]
    granted_by: Mapped[UUID | None]
    reason: Mapped[str]


class GatewayKey(BoundaryScoped, Base):
    """A key for the boundary's gateway: shown once, kept as a hash, bound to group and owner."""

    __tablename__ = "gateway_key"
    __table_args__ = boundary_table(
        within_organization("group_id", "principal_group"),
        ForeignKeyConstraint(["owner_id"], ["principal.id"]),
        UniqueConstraint("boundary_id", "key_hash"),
    )

    group_id: Mapped[UUID]
    owner_id: Mapped[UUID]
    key_hash: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
