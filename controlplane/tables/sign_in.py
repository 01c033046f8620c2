"""Sign-ins under way and the sessions of browsers (platform); only hashes of their secrets.

Separate from `identity`: these rows live minutes to hours and belong to no organization.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKeyConstraint,
    Index,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from controlplane.core.db import Base
from controlplane.core.ids import new_id


class SignInAttempt(Base):
    """One way to an identity provider and back; it counts once, for ten minutes, in one browser."""

    __tablename__ = "sign_in_attempt"
    __table_args__ = (
        UniqueConstraint("state_hash"),
        CheckConstraint("kind IN ('browser', 'exchange')", name="kind"),
        CheckConstraint("(kind = 'browser') = (browser_hash IS NOT NULL)", name="browser"),
        Index(None, "expires_at"),
        {"info": {"tenancy": "platform"}},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    kind: Mapped[str]
    """browser: by redirect. exchange: an ID token that the command line brought, kept as used."""
    state_hash: Mapped[str]
    """Of the `state` parameter, or of the ID token that was exchanged."""
    browser_hash: Mapped[str | None]
    """Of the cookie of the browser that began."""
    seed: Mapped[str]
    """Our half of the PKCE verifier and the nonce; the other half is in the browser's cookie."""
    issuer: Mapped[str]
    return_to: Mapped[str]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class SignInRefusal(Base):
    """How often one address was refused for one reason within one window of minutes.

    The first is an event; this counts the others until the scheduler writes their number.
    """

    __tablename__ = "sign_in_refusal"
    __table_args__ = (
        UniqueConstraint(
            "organization_id",
            "window_start",
            "address",
            "reason",
            name="uq_sign_in_refusal_counted",
            postgresql_nulls_not_distinct=True,
        ),
        CheckConstraint("refused >= 1", name="refused"),
        {"info": {"tenancy": "platform"}},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    organization_id: Mapped[UUID | None]
    """Whose chain the event is in; None for the platform's."""
    window_start: Mapped[datetime]
    address: Mapped[str]
    reason: Mapped[str]
    refused: Mapped[int] = mapped_column(BigInteger)
    first_at: Mapped[datetime]
    last_at: Mapped[datetime]


class SessionEnd(StrEnum):
    """Why a session ended."""

    SIGN_OUT = "sign-out"
    """The person asked for it."""
    IDLE = "idle"
    """Nothing was asked for too long."""
    ABSOLUTE = "absolute"
    """Its longest life was over, however busy it was."""
    DISABLED = "principal-disabled"
    """The person was disabled."""
    REPLACED = "replaced"
    """The same browser signed in anew."""


class BrowserSession(Base):
    """A signed-in browser."""

    __tablename__ = "session"
    __table_args__ = (
        UniqueConstraint("secret_hash"),
        ForeignKeyConstraint(["principal_id"], ["principal.id"]),
        CheckConstraint("(ended_at IS NULL) = (end_reason IS NULL)", name="ended"),
        Index(None, "principal_id"),
        Index("ix_session_open", "idle_ends_at", postgresql_where=text("ended_at IS NULL")),
        Index("ix_session_ended", "ended_at", postgresql_where=text("ended_at IS NOT NULL")),
        {"info": {"tenancy": "platform"}},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    secret_hash: Mapped[str]
    """Of the cookie; the cross-site token is derived from the cookie and not kept."""
    principal_id: Mapped[UUID]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    seen_at: Mapped[datetime]
    idle_ends_at: Mapped[datetime]
    ends_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    end_reason: Mapped[str | None]
    methods: Mapped[list[Any]] = mapped_column(server_default="[]")
    """How the person proved themselves to the provider (`amr`); empty: it did not say."""
    context: Mapped[str | None]
    """The class of it (`acr`)."""
