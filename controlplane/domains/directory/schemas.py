"""People and groups as the API shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel

from controlplane.domains.identity.schemas import PersonOut

MemberSource = Literal["file", "claim", "scim"]


class MappedRoleOut(BaseModel):
    """A role that a group gives, and where; no boundary means the whole organization."""

    role: str
    layer: Literal["organization", "boundary"]
    boundary: str | None


class MemberOut(PersonOut):
    """A member of a group, and who says so."""

    sources: list[MemberSource]


class GroupOut(BaseModel):
    """A group of the organization's people."""

    id: UUID
    name: str
    source: Literal["file", "scim"]
    members: list[MemberOut]
    roles: list[MappedRoleOut]


class GroupsOut(BaseModel):
    """The groups that the caller may see."""

    groups: list[GroupOut]


class DirectoryRoleOut(MappedRoleOut):
    """A role that a person has, with the layer that gave it and how."""

    via: Literal["person", "group"]
    group: str | None
    reason: str
    since: datetime


class DirectoryPersonOut(BaseModel):
    """A person or service of the organization."""

    id: UUID
    issuer: str
    subject: str
    display: str
    kind: Literal["human", "service", "break-glass"]
    status: Literal["active", "disabled", "guest-pending"]
    source: Literal["file", "scim", "signed-in", "service"]
    """Where the organization knows the person from: SCIM, else its file, else a first sign-in."""
    groups: list[str]
    roles: list[DirectoryRoleOut]
    last_sign_in_at: datetime | None
    """When the person last signed in with a browser, as far as that is still known."""
    last_used_at: datetime | None
    """When one of the person's API tokens was last used."""


class PeopleOut(BaseModel):
    """The people that the caller may see, by subject."""

    people: list[DirectoryPersonOut]
