"""Principals, tokens and the role catalogue (platform), and who has which role (organization).

A principal is keyed by (issuer, subject). Role assignments are bitemporal: `valid_*` is when the
role holds in the world, `recorded_*` is when we knew; rows are never edited, only superseded.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, UniqueConstraint, func
from sqlalchemy.orm import Mapped, mapped_column

from controlplane.core.db import Base
from controlplane.core.ids import new_id
from controlplane.core.tenancy import (
    OrganizationScoped,
    organization_table,
    within_organization,
)


class RoleName(StrEnum):
    """The roles of the first cut; the catalogue table holds the same names."""

    PLATFORM_ADMIN = "platform-admin"
    SOLUTION_ARCHITECT = "solution-architect"
    APPROVER = "approver"
    BOUNDARY_ADMIN = "boundary-admin"
    ENGINEER = "engineer"
    AUDITOR = "auditor"
    PROVISIONER = "provisioner"
    """Held by a service identity: pushes people and groups over SCIM and can do nothing else."""


class Role(Base):
    """The catalogue of roles; seeded by the migrations."""

    __tablename__ = "role"
    __table_args__ = ({"info": {"tenancy": "platform"}},)

    name: Mapped[str] = mapped_column(primary_key=True)
    description: Mapped[str]


class Principal(Base):
    """A person or service as an identity provider knows it."""

    __tablename__ = "principal"
    __table_args__ = (
        UniqueConstraint("issuer", "subject"),
        CheckConstraint("kind IN ('human', 'service', 'break-glass')", name="kind"),
        CheckConstraint("organization_id IS NULL OR kind = 'service'", name="service"),
        ForeignKeyConstraint(["organization_id"], ["organization.id"]),
        {"info": {"tenancy": "platform"}},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    issuer: Mapped[str]
    subject: Mapped[str]
    kind: Mapped[str]
    display: Mapped[str]
    person_key: Mapped[str | None]
    """Two principals with the same key are one person for four eyes."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    disabled_at: Mapped[datetime | None]
    organization_id: Mapped[UUID | None]
    """A service identity's organization; None for people, whose issuer says where they belong."""
    signed_in_at: Mapped[datetime | None]
    """The last time the provider let the person in here."""
    signed_in_methods: Mapped[list[Any] | None]
    """How, then (`amr`); empty: the provider did not say."""
    signed_in_context: Mapped[str | None]
    """The class of it (`acr`)."""


class ApiToken(Base):
    """A bearer token; only its SHA-256 is kept (256 random bits need no slow hash).

    Organization, boundary and roles narrow what the holder has at the time of use; they never give
    anything.
    """

    __tablename__ = "api_token"
    __table_args__ = (
        UniqueConstraint("token_hash"),
        ForeignKeyConstraint(["principal_id"], ["principal.id"]),
        ForeignKeyConstraint(["organization_id"], ["organization.id"]),
        ForeignKeyConstraint(
            ["organization_id", "boundary_id"], ["boundary.organization_id", "boundary.id"]
        ),
        CheckConstraint("boundary_id IS NULL OR organization_id IS NOT NULL", name="layers"),
        Index(None, "principal_id"),
        {"info": {"tenancy": "platform"}},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    principal_id: Mapped[UUID]
    token_hash: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]
    """A token always expires."""
    revoked_at: Mapped[datetime | None]
    name: Mapped[str] = mapped_column(server_default="token")
    prefix: Mapped[str] = mapped_column(server_default="")
    """The token's first characters, by which its holder knows it again."""
    created_by: Mapped[UUID | None]
    organization_id: Mapped[UUID | None]
    """None: every organization of the holder, and the platform."""
    boundary_id: Mapped[UUID | None]
    """None: every boundary of the holder."""
    roles: Mapped[list[Any] | None]
    """Names of the roles it may use; None: all that the holder has."""
    last_used_at: Mapped[datetime | None]
    """Written at most once a minute."""
    revoked_by: Mapped[UUID | None]


class PlatformRole(Base):
    """A role at the outermost layer: it opens platform operations, never a tenant's rows."""

    __tablename__ = "platform_role"
    __table_args__ = (
        ForeignKeyConstraint(["principal_id"], ["principal.id"]),
        ForeignKeyConstraint(["role"], ["role.name"]),
        {"info": {"tenancy": "platform"}},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    principal_id: Mapped[UUID]
    role: Mapped[str]
    valid_from: Mapped[datetime] = mapped_column(server_default=func.now())
    valid_until: Mapped[datetime | None]


class IdentityProvider(OrganizationScoped, Base):
    """An issuer whose subjects are the organization's own people, and how they sign in with it.

    No client secret stands here: the control plane proves itself with its own key.
    """

    __tablename__ = "identity_provider"
    # An issuer belongs to one organization only: otherwise one could claim the people of another.
    __table_args__ = organization_table(
        UniqueConstraint("issuer"),
        CheckConstraint("subject_attribute IN ('userName', 'externalId')", name="subject"),
    )

    issuer: Mapped[str]
    subject_attribute: Mapped[str] = mapped_column(server_default="userName")
    """Which attribute of a person pushed over SCIM is the subject that sign-in will show."""
    is_current: Mapped[bool] = mapped_column(server_default="true")
    """The one that the organization's people are sent to; an earlier issuer stays claimed."""
    client_id: Mapped[str | None]
    """None: the operator's settings for this issuer hold, where there are any."""
    cli_client_id: Mapped[str | None]
    metadata_url: Mapped[str | None]
    """None: the issuer's well-known address."""
    groups_claim: Mapped[str | None]
    person_key_claim: Mapped[str | None]
    display_claim: Mapped[str | None]
    scopes: Mapped[str | None]
    """Separated by spaces."""


class MembershipSource(StrEnum):
    """What said that somebody is in a group; each source ends only what it began itself."""

    FILE = "file"
    """The organization's file."""
    CLAIM = "claim"
    """The groups claim at the person's last sign-in."""
    SCIM = "scim"
    """The identity provider's push."""


class PrincipalGroup(OrganizationScoped, Base):
    """A group of an organization's people."""

    __tablename__ = "principal_group"
    __table_args__ = organization_table(
        UniqueConstraint("organization_id", "name"),
        CheckConstraint("source IN ('file', 'scim')", name="source"),
    )

    name: Mapped[str]
    source: Mapped[str] = mapped_column(server_default="file")
    """Who made the group: the organization's file, or its identity provider over SCIM."""
    external_id: Mapped[str | None]
    provisioned_at: Mapped[datetime | None]
    """Since when SCIM knows the group; None while it does not, also of a group it deleted."""
    changed_at: Mapped[datetime | None]
    """When SCIM last changed it."""
    version: Mapped[int] = mapped_column(server_default="1")
    """Counts SCIM's changes; its entity tag."""


class GroupMember(OrganizationScoped, Base):
    """A principal in a group, from when to when, and who says so.

    File, sign-in claims and SCIM each write their own rows and leave the others' alone; a person is
    in the group while any of them says so.
    """

    __tablename__ = "group_member"
    __table_args__ = organization_table(
        within_organization("group_id", "principal_group"),
        ForeignKeyConstraint(["principal_id"], ["principal.id"]),
        Index(
            "uq_group_member_current",
            "organization_id",
            "group_id",
            "principal_id",
            "source",
            unique=True,
            postgresql_where="valid_until IS NULL",
        ),
        CheckConstraint("source IN ('file', 'claim', 'scim')", name="source"),
    )

    group_id: Mapped[UUID]
    principal_id: Mapped[UUID]
    source: Mapped[str] = mapped_column(server_default=MembershipSource.FILE.value)
    valid_from: Mapped[datetime] = mapped_column(server_default=func.now())
    valid_until: Mapped[datetime | None]


class RoleAssignment(OrganizationScoped, Base):
    """A role given to a principal or to a group, for the organization or one boundary of it."""

    __tablename__ = "role_assignment"
    __table_args__ = organization_table(
        ForeignKeyConstraint(["role"], ["role.name"]),
        ForeignKeyConstraint(["principal_id"], ["principal.id"]),
        within_organization("group_id", "principal_group"),
        ForeignKeyConstraint(
            ["organization_id", "boundary_id"], ["boundary.organization_id", "boundary.id"]
        ),
        CheckConstraint("(principal_id IS NULL) <> (group_id IS NULL)", name="one_subject"),
        Index(None, "organization_id", "principal_id"),
        Index(None, "organization_id", "group_id"),
    )

    boundary_id: Mapped[UUID | None]
    """None: the whole organization."""
    principal_id: Mapped[UUID | None]
    group_id: Mapped[UUID | None]
    role: Mapped[str]
    valid_from: Mapped[datetime]
    valid_until: Mapped[datetime | None]
    recorded_at: Mapped[datetime] = mapped_column(server_default=func.now())
    superseded_at: Mapped[datetime | None]
    """When a later row replaced what this one says; None while it is what we know."""
    granted_by: Mapped[UUID | None]
    reason: Mapped[str]
