"""Rows as SCIM resources, with ids, locations and entity tags."""

from __future__ import annotations

from collections import defaultdict
from typing import Any
from uuid import UUID

from scim2_models import Meta
from sqlalchemy.orm import Session

from controlplane.domains.provisioning import repository
from controlplane.domains.provisioning.description import POLICY, ScimGroup, ScimUser
from controlplane.tables.identity import PrincipalGroup
from controlplane.tables.provisioning import ProvisionedUser


def user_resources(session: Session, rows: list[ProvisionedUser], base: str) -> list[ScimUser]:
    """Return people as resources; `base` is the address of this service."""
    groups: dict[UUID, list[dict[str, Any]]] = defaultdict(list)
    for principal_id, group in repository.list_groups_of(session, [r.principal_id for r in rows]):
        groups[principal_id].append(
            {
                "value": str(group.id),
                "$ref": f"{base}/Groups/{group.id}",
                "display": group.name,
                "type": "direct",
            }
        )
    found = []
    for row in rows:
        document = {
            **row.attributes,
            "id": str(row.id),
            "userName": row.user_name,
            "externalId": row.external_id,
            "active": row.is_active,
            "groups": groups.get(row.principal_id) or None,
        }
        resource = ScimUser.model_validate(document, scim_policy=POLICY)
        resource.meta = Meta(
            resource_type="User",
            created=row.created_at,
            last_modified=row.changed_at,
            location=f"{base}/Users/{row.id}",
            version=entity_tag(row.version),
        )
        found.append(resource)
    return found


def group_resources(session: Session, rows: list[PrincipalGroup], base: str) -> list[ScimGroup]:
    """Return groups as resources, with whom SCIM put into them."""
    members: dict[UUID, list[dict[str, Any]]] = defaultdict(list)
    for group_id, user in repository.list_pushed_members(session, [r.id for r in rows]):
        members[group_id].append(
            {
                "value": str(user.id),
                "$ref": f"{base}/Users/{user.id}",
                "type": "User",
            }
        )
    found = []
    for row in rows:
        document = {
            "id": str(row.id),
            "externalId": row.external_id,
            "displayName": row.name,
            "members": members.get(row.id) or None,
        }
        resource = ScimGroup.model_validate(document, scim_policy=POLICY)
        resource.meta = Meta(
            resource_type="Group",
            created=row.provisioned_at,
            last_modified=row.changed_at,
            location=f"{base}/Groups/{row.id}",
            version=entity_tag(row.version),
        )
        found.append(resource)
    return found


def entity_tag(version: int) -> str:
    """Return the weak entity tag of a version."""
    return f'W/"{version}"'
