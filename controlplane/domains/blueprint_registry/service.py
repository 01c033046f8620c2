"""Register and read blueprint versions. Registration is done by `controlplane.bootstrap`."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from controlplane.core import audit
from controlplane.core.actor import OpContext
from controlplane.core.errors import ConflictError, NotFoundError
from controlplane.core.ids import new_id
from controlplane.tables.catalog import BlueprintVersion
from wire.manifest import BlueprintManifest


def register(session: Session, ctx: OpContext, manifest: BlueprintManifest) -> bool:
    """Register a version once; return whether it was new.

    Raises: ConflictError when the version is there with another digest: versions are immutable.
    """
    existing = find_version(session, manifest.name, manifest.version)
    if existing is not None:
        if existing.digest != manifest.digest:
            raise ConflictError(
                f"blueprint {manifest.name} {manifest.version} is registered with digest"
                f" {existing.digest}, not {manifest.digest}",
                fix="raise the version: a registered version never changes",
            )
        return False
    row = BlueprintVersion(
        id=new_id(),
        name=manifest.name,
        version=manifest.version,
        digest=manifest.digest,
        manifest=manifest.model_dump(mode="json"),
    )
    session.add(row)
    session.flush()
    audit.append(
        session,
        ctx,
        "blueprint.registered",
        target=f"blueprint/{row.id}",
        detail={"name": row.name, "version": row.version, "digest": row.digest},
    )
    return True


def find_version(session: Session, name: str, version: str) -> BlueprintVersion | None:
    """Return a registered version, or None."""
    return session.scalars(
        select(BlueprintVersion).where(
            BlueprintVersion.name == name, BlueprintVersion.version == version
        )
    ).one_or_none()


def get_version(session: Session, name: str, version: str) -> BlueprintVersion:
    """Return a registered version. Raises: NotFoundError naming those that exist."""
    found = find_version(session, name, version)
    if found is None:
        known = ", ".join(f"{b.name} {b.version}" for b in list_versions(session)) or "none"
        raise NotFoundError(
            f"there is no blueprint {name} {version}",
            field="blueprint",
            fix=f"registered are: {known}",
        )
    return found


def list_versions(session: Session) -> list[BlueprintVersion]:
    """Return all registered versions by name and time."""
    return list(
        session.scalars(
            select(BlueprintVersion).order_by(BlueprintVersion.name, BlueprintVersion.registered_at)
        )
    )
