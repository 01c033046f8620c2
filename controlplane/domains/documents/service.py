"""Check an organization's file with all that the server knows, and apply it in one transaction.

Nothing is written while there is a problem. Applying the same file twice changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from controlplane.adapters.aws.accounts import AccountDirectory
from controlplane.core import audit
from controlplane.core.actor import OpContext
from controlplane.core.db import Scope, apply_scope
from controlplane.core.errors import ForbiddenError, InvalidRequestError
from controlplane.core.ids import new_id
from controlplane.domains.blueprint_registry import service as blueprints
from controlplane.domains.boundaries import repository as boundaries
from controlplane.domains.boundaries import service as boundary_service
from controlplane.domains.catalog import repository as catalog
from controlplane.domains.catalog import service as catalog_service
from controlplane.domains.connections import service as connections
from controlplane.domains.documents.hosting import host_of, hosting_problems
from controlplane.domains.documents.inputs import input_problems
from controlplane.domains.entitlements import service as entitlements
from controlplane.domains.identity import repository as identity
from controlplane.domains.organizations import service as organization_service
from controlplane.domains.organizations.service import WantedRole
from controlplane.domains.waivers import service as waivers
from controlplane.tables.identity import RoleName
from controlplane.tables.organizations import Boundary
from proof.canonical import digest
from wire.manifest import BlueprintManifest
from wire.organization import (
    BoundaryEntry,
    OrganizationDocument,
    Problem,
    SignInEntry,
    check,
)

REASON = "organization file"


class DocumentProblemsError(InvalidRequestError):
    """The file has problems; the body lists all of them."""

    def __init__(self, problems: list[Problem]) -> None:
        count = len(problems)
        super().__init__(
            f"the organization's file has {count} problem{'s' if count != 1 else ''}",
            code="invalid-document",
            fix="correct them and send it again; nothing was changed",
            detail={"problems": [p.model_dump() for p in problems]},
        )


@dataclass(frozen=True)
class Applied:
    """What an application of a file wrote."""

    organization_id: UUID
    digest: str
    boundaries: list[Boundary]


def problems_of(
    session: Session,
    ctx: OpContext,
    raw: Any,
    directory: AccountDirectory,
    *,
    name: str | None = None,
) -> list[Problem]:
    """Return all problems of a file; `name` is the organization it is sent for."""
    versions = blueprints.list_versions(session)
    known: dict[str, list[str]] = {}
    for version in versions:
        known.setdefault(version.name, []).append(version.version)
    models = {m.name: m.kind for m in catalog.list_offered(session).values()}
    found = check(raw, blueprints=known, accounts=directory.list_accounts(), models=models)
    manifests = {
        (v.name, v.version): BlueprintManifest.model_validate(v.manifest) for v in versions
    }
    found += input_problems(raw, manifests)
    found += hosting_problems(raw)
    if name is not None and isinstance(raw, dict) and raw.get("organization") not in (name, None):
        found.append(
            Problem(
                path="organization",
                message=f"the file is for {raw.get('organization')!r}, the address for {name!r}",
                fix="send it to the address of its own organization",
            )
        )
    if ctx.scope.organization_id is not None:
        found += _conflicts(session, raw)
    return found


def _conflicts(session: Session, raw: Any) -> list[Problem]:
    """Return what an existing organization's file may not change."""
    entries = {
        entry["name"]: (index, entry)
        for index, entry in enumerate(raw.get("boundaries") or [] if isinstance(raw, dict) else [])
        if isinstance(entry, dict) and isinstance(entry.get("name"), str)
    }
    found = []
    for boundary in boundaries.list_boundaries(session):
        if boundary.name not in entries:
            found.append(
                Problem(
                    path="boundaries",
                    message=f"boundary {boundary.name!r} exists and is not in the file",
                    fix="put it back: a boundary ends by deprovisioning it, not by leaving it out",
                )
            )
            continue
        index, entry = entries[boundary.name]
        target = entry.get("target")
        region = target.get("region") if isinstance(target, dict) else None
        if isinstance(region, str) and region != boundary.target["region"]:
            found.append(
                Problem(
                    path=f"boundaries[{index}].target.region",
                    message=f"boundary {boundary.name!r} is in {boundary.target['region']}",
                    fix="a boundary does not move: make a new one there",
                )
            )
        given = entry.get("inputs")
        if isinstance(given, dict) and host_of(given) != host_of(boundary.inputs):
            found.append(
                Problem(
                    path=f"boundaries[{index}].inputs.cluster",
                    message=f"boundary {boundary.name!r} cannot change in whose cluster it lives",
                    fix="its role was made for that one: make a new boundary",
                )
            )
    return found


def apply(
    session: Session,
    ctx: OpContext,
    name: str,
    raw: Any,
    directory: AccountDirectory,
) -> Applied:
    """Apply a file. Raises: DocumentProblemsError with every problem, before any write."""
    found = problems_of(session, ctx, raw, directory, name=name)
    if found:
        raise DocumentProblemsError(found)
    document = OrganizationDocument.from_wire(raw)
    is_new = ctx.scope.organization_id is None
    organization_id = ctx.scope.organization_id or new_id()
    existing = {} if is_new else {b.name: b.id for b in boundaries.list_boundaries(session)}
    ids = {b.name: existing.get(b.name) or new_id() for b in document.boundaries}
    scope = Scope(organization_id, frozenset(ids.values()))
    apply_scope(session, scope)
    inner = OpContext(ctx.actor, ctx.request_id, scope, ctx.roles)
    return _write(session, inner, document, raw, organization_id, ids, is_new)


def _write(
    session: Session,
    ctx: OpContext,
    document: OrganizationDocument,
    raw: dict[str, Any],
    organization_id: UUID,
    ids: dict[str, UUID],
    is_new: bool,
) -> Applied:
    document_digest = _ensure_organization(session, organization_id, document)
    rows = [
        _ensure_boundary(session, ctx, organization_id, ids[entry.name], document, entry)
        for entry in document.boundaries
    ]
    people = _principals(session, document)
    members = {g.name: {people[m] for m in g.members} for g in document.groups}
    if not is_new and organization_service.changes_members(session, members):
        _require_administrator(ctx, "groups")
    groups = organization_service.ensure_groups(session, ctx, organization_id, members)
    _set_roles(session, ctx, organization_id, document, ids, people, groups, is_new)
    waivers.ensure_requested(session, ctx, {s: people[s] for s in document.guests})
    for entry in document.boundaries:
        _ensure_models(session, ctx, organization_id, ids[entry.name], entry, groups)
    audit.append(
        session,
        ctx,
        "organization.applied",
        target=f"organization/{organization_id}",
        organization_id=organization_id,
        detail={"digest": document_digest, "boundaries": sorted(ids), "new": is_new},
    )
    return Applied(organization_id, document_digest, rows)


def _ensure_organization(
    session: Session, organization_id: UUID, document: OrganizationDocument
) -> str:
    """Write the organization, its issuer and its accounts; return the document's digest."""
    document_digest = digest(document.to_wire())
    organization_service.ensure_organization(
        session,
        organization_id,
        name=document.organization,
        display_name=document.display_name or document.organization,
        document=document.to_wire(),
        digest=document_digest,
    )
    organization_service.ensure_identity_provider(
        session,
        organization_id,
        document.identity_provider,
        {
            **(document.sign_in or SignInEntry()).columns(),
            "subject_attribute": document.provisioning.subject,
        },
    )
    organization_service.ensure_accounts(
        session,
        organization_id,
        [(a.name, a.account, a.partition) for a in document.accounts],
    )
    return document_digest


def _ensure_boundary(
    session: Session,
    ctx: OpContext,
    organization_id: UUID,
    boundary_id: UUID,
    document: OrganizationDocument,
    entry: BoundaryEntry,
) -> Boundary:
    account = document.account(entry.target.account)
    row = boundary_service.ensure_boundary(
        session,
        ctx,
        organization_id,
        boundary_id,
        name=entry.name,
        display_name=entry.display_name or entry.name,
        target={
            "kind": entry.target.kind,
            "account": account.account,
            "partition": account.partition,
            "region": entry.target.region,
            "reach": entry.connection.reach,
            "images": entry.connection.images,
        },
        blueprint=entry.blueprint,
        blueprint_version=entry.version,
        inputs=dict(entry.inputs),
    )
    connections.ensure_connection(
        session,
        ctx,
        row,
        account=account.account,
        region=entry.target.region,
        partition=account.partition,
    )
    return row


def _principals(session: Session, document: OrganizationDocument) -> dict[str, UUID]:
    subjects = {m for g in document.groups for m in g.members}
    subjects |= {s for names in document.people.values() for s in names}
    subjects |= {s for b in document.boundaries for names in b.people.values() for s in names}
    subjects |= set(document.guests)
    return {
        subject: identity.ensure_principal(session, document.issuer_of(subject), subject, subject)
        for subject in sorted(subjects)
    }


def _set_roles(
    session: Session,
    ctx: OpContext,
    organization_id: UUID,
    document: OrganizationDocument,
    ids: dict[str, UUID],
    people: dict[str, UUID],
    groups: dict[str, UUID],
    is_new: bool,
) -> None:
    wanted = {
        WantedRole(role, people[subject], None, None)
        for role, subjects in document.people.items()
        for subject in subjects
    }
    for entry in document.boundaries:
        boundary_id = ids[entry.name]
        wanted |= {
            WantedRole(role, people[subject], None, boundary_id)
            for role, subjects in entry.people.items()
            for subject in subjects
        }
        wanted |= {
            WantedRole(RoleName.ENGINEER, None, groups[name], boundary_id) for name in entry.groups
        }
    wanted |= {
        WantedRole(m.role, None, groups[m.group], ids[m.boundary] if m.boundary else None)
        for m in document.role_mappings
    }
    missing, surplus = organization_service.role_changes(session, wanted)
    if not is_new and (missing or surplus):
        _require_administrator(ctx, "people")
    organization_service.ensure_roles(session, ctx, organization_id, wanted, reason=REASON)


def _require_administrator(ctx: OpContext, field: str) -> None:
    """Refuse a change of who may do what. Raises: ForbiddenError."""
    if RoleName.PLATFORM_ADMIN not in ctx.roles:
        raise ForbiddenError(
            "this file changes who has which role; only a platform-admin of the organization"
            " may do that once the organization exists",
            code="roles-protected",
            field=field,
            fix="have a platform-admin apply the file, or leave people and groups as they are",
        )


def _ensure_models(
    session: Session,
    ctx: OpContext,
    organization_id: UUID,
    boundary_id: UUID,
    entry: BoundaryEntry,
    groups: dict[str, UUID],
) -> None:
    versions = catalog_service.ensure_boundary_models(
        session,
        ctx,
        organization_id=organization_id,
        boundary_id=boundary_id,
        base=entry.models.base,
        adapters=entry.models.adapters,
    )
    entitlements.ensure_entitlements(
        session,
        ctx,
        organization_id=organization_id,
        boundary_id=boundary_id,
        wanted=[(groups[name], version) for name in entry.groups for version in versions],
        reason=REASON,
    )
