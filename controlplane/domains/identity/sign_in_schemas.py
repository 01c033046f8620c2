"""What the sign-in routes take and answer."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from controlplane.domains.identity.schemas import PersonOut


class SessionOut(BaseModel):
    """The session of the browser that asks."""

    state: Literal["signed-out", "signed-in"]
    person: PersonOut | None
    csrf_token: str | None
    """To be sent back in the header `Ringfence-CSRF` with every change."""
    idle_ends_at: datetime | None
    ends_at: datetime | None


class SignOutOut(BaseModel):
    """The session is over; the provider's own may not be."""

    end_session_url: str | None
    """Where the browser ends the provider's session too."""


class ProviderOut(BaseModel):
    """Where an organization's people sign in; what a public client needs, nothing secret."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    device_authorization_endpoint: str | None
    cli_client_id: str | None
    scopes: list[str]


class KeySetOut(BaseModel):
    """The public half of the control plane's key towards identity providers (RFC 7517)."""

    keys: list[dict[str, Any]]


class ExchangeIn(BaseModel):
    """An ID token that the command line got from the provider."""

    model_config = ConfigDict(extra="forbid")

    organization: str | None = Field(default=None, max_length=100)
    id_token: str = Field(min_length=1, max_length=32_000, repr=False)


class ExchangeOut(BaseModel):
    """An API token; shown once."""

    token: str
    token_id: UUID
    expires_at: datetime
    subject: str
    display: str
