"""Bring pushed people to what the identity provider says; who is not active can do nothing.

Called by the router. A person is a principal of the organization's issuer from the first push on,
so roles and groups can be given before the first sign-in. Whoever is made inactive or deleted loses
tokens, sessions, gateway keys and memberships in this transaction; the rows stay for history.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from scim2_models import (
    EnterpriseUser,
    InvalidValueException,
    NotFoundException,
    UniquenessException,
)
from sqlalchemy.orm import Session

from controlplane.core import audit
from controlplane.core.actor import OpContext
from controlplane.core.clock import now
from controlplane.core.ids import new_id
from controlplane.domains.entitlements import service as entitlements
from controlplane.domains.identity import api_tokens
from controlplane.domains.identity import repository as identity
from controlplane.domains.organizations import service as organizations
from controlplane.domains.provisioning import repository
from controlplane.domains.provisioning.description import ScimUser
from controlplane.tables.identity import IdentityProvider
from controlplane.tables.provisioning import ProvisionedUser

OWN_COLUMNS = ("id", "externalId", "userName", "active", "meta", "groups", "password")
"""Attributes that are columns, computed, or (a password) never kept."""


def get(session: Session, wanted: UUID, *, lock: bool = False) -> ProvisionedUser:
    """Return a person. Raises: NotFoundException."""
    row = repository.find_user(session, wanted, lock=lock)
    if row is None:
        raise NotFoundException(detail=f"there is no user {wanted}")
    return row


def create(
    session: Session, ctx: OpContext, organization_id: UUID, user: ScimUser
) -> ProvisionedUser:
    """Write a new person. Raises: UniquenessException, InvalidValueException."""
    principal_id = _principal_of(session, user)
    _require_free(session, user, principal_id, None)
    row = ProvisionedUser(
        organization_id=organization_id,
        id=new_id(),
        principal_id=principal_id,
        user_name=user.user_name,
        external_id=user.external_id,
        is_active=user.active is not False,
        attributes=_attributes(user),
        version=1,
        created_at=now(),
        changed_at=now(),
    )
    session.add(row)
    session.flush()
    _record(session, ctx, row, "person.provisioned", user_name=row.user_name)
    _describe(session, row, user)
    _set_active(session, ctx, row, row.is_active is not False)
    return row


def change(session: Session, ctx: OpContext, row: ProvisionedUser, user: ScimUser) -> None:
    """Bring a person to what a replaced or patched resource says, and count the change."""
    principal_id = _principal_of(session, user)
    _require_free(session, user, principal_id, row)
    before = (row.user_name, row.external_id, row.attributes)
    if principal_id != row.principal_id:
        _move(session, ctx, row, principal_id)
    row.user_name = str(user.user_name)
    row.external_id = user.external_id
    row.attributes = _attributes(user)
    row.is_active = user.active
    row.version += 1
    row.changed_at = now()
    session.flush()
    if (row.user_name, row.external_id, row.attributes) != before:
        _record(session, ctx, row, "person.changed", user_name=row.user_name)
    _describe(session, row, user)
    _set_active(session, ctx, row, row.is_active is not False)


def remove(session: Session, ctx: OpContext, row: ProvisionedUser) -> None:
    """Take a person out: access ends now, and the name is free for a later push."""
    row.is_active = False
    _set_active(session, ctx, row, False)
    row.removed_at = row.changed_at = now()
    session.flush()
    _record(session, ctx, row, "person.removed", user_name=row.user_name)


def _principal_of(session: Session, user: ScimUser) -> UUID:
    """Return the principal of the organization's issuer that this person is at sign-in."""
    provider = repository.get_provider(session)
    subject = _subject(provider, user)
    return identity.ensure_principal(session, provider.issuer, subject, subject)


def _subject(provider: IdentityProvider, user: ScimUser) -> str:
    by_external_id = provider.subject_attribute == "externalId"
    value = user.external_id if by_external_id else user.user_name
    if not value or len(value) > 200:
        raise InvalidValueException(
            detail=f"{provider.subject_attribute} must have 1 to 200 characters: it is the subject"
            " by which this organization's people sign in"
        )
    return value


def _require_free(
    session: Session, user: ScimUser, principal_id: UUID, own: ProvisionedUser | None
) -> None:
    for other in (
        repository.find_user_by_name(session, str(user.user_name)),
        repository.find_user_of_principal(session, principal_id),
    ):
        if other is not None and (own is None or other.id != own.id):
            raise UniquenessException(detail=f"the user {user.user_name!r} exists already")


def _attributes(user: ScimUser) -> dict[str, Any]:
    document: dict[str, Any] = user.model_dump(mode="json")
    return {key: value for key, value in document.items() if key not in OWN_COLUMNS}


def _describe(session: Session, row: ProvisionedUser, user: ScimUser) -> None:
    name = user.name
    formatted = name.formatted if name else None
    parts = [name.given_name, name.family_name] if name else []
    shown = user.display_name or formatted or " ".join(p for p in parts if p) or row.user_name
    extension = user[EnterpriseUser]
    key = extension.employee_number if extension else None
    repository.describe(session, row.organization_id, row.principal_id, shown, key or None)


def _move(session: Session, ctx: OpContext, row: ProvisionedUser, principal_id: UUID) -> None:
    """Let a person go on under another subject: the old one ends, its pushed groups go along."""
    groups = [group for _, group in repository.list_groups_of(session, [row.principal_id])]
    _set_active(session, ctx, row, False)
    row.principal_id = principal_id
    session.flush()
    for group in groups:
        organizations.add_pushed_member(session, ctx, group, principal_id)


def _set_active(session: Session, ctx: OpContext, row: ProvisionedUser, wanted: bool) -> None:
    """Enable or disable the principal; disabling ends everything that it could use."""
    changed = repository.set_enabled(session, row.organization_id, row.principal_id, to=wanted)
    if wanted:
        if changed:
            _record(session, ctx, row, "person.enabled")
        return
    tokens = api_tokens.revoke_all_of(session, ctx, row.principal_id)
    keys = entitlements.revoke_keys_of(session, ctx, row.principal_id)
    groups = organizations.end_memberships(session, ctx, row.organization_id, row.principal_id)
    if changed:
        _record(session, ctx, row, "person.disabled", tokens=tokens, keys=keys, groups=groups)


def _record(
    session: Session, ctx: OpContext, row: ProvisionedUser, code: str, **detail: Any
) -> None:
    audit.append(
        session,
        ctx,
        code,
        target=f"principal/{row.principal_id}",
        organization_id=row.organization_id,
        detail=detail,
    )
