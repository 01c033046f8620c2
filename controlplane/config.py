"""Settings of the control plane's processes, from the environment, prefix `RINGFENCE_`.

Read once by a composition root (`app`, `worker`, `scheduler`, `bootstrap`) and passed in; never a
global. A secret is never in the environment: a setting that ends in `_file` names a file.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class SecretFileError(ValueError):
    """A secret's file cannot be read; the message names the setting and the file."""


def read_secret(path: Path, setting: str) -> str:
    """Return the stripped content of a secret's file. Raises: SecretFileError."""
    try:
        return path.read_text().strip()
    except OSError as error:
        raise SecretFileError(
            f"RINGFENCE_{setting.upper()}: cannot read {path}: {error.strerror}"
        ) from error


class DatabaseSettings(BaseSettings):
    """What every process needs."""

    model_config = SettingsConfigDict(env_prefix="RINGFENCE_", extra="ignore", frozen=True)

    database_url_file: Path
    """File with the `postgresql://` address of this process's own database role."""

    def database_url(self) -> str:
        """Return the address."""
        return read_secret(self.database_url_file, "database_url_file")


class ApiSettings(DatabaseSettings):
    """Settings of the API."""

    api_host: str = "127.0.0.1"
    """Address to listen on; loopback unless a proxy in front of it says otherwise."""
    api_port: int = Field(default=8400, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    aws_endpoint_url: str | None = None
    """The rehearsal account's endpoint; None in production, where AWS is asked directly."""
    vendor_principal: str = "arn:aws:iam::999988887777:role/ringfence-control-plane"
    """The one ARN that the customers' role templates trust."""
    control_plane_public_key: str
    """Public half of the control-plane key, base64: what agents are given to trust."""
    control_plane_fingerprint: str
    """Fingerprint of the same key, pinned in the customers' role templates."""
    release_fingerprint: str
    """Fingerprint of the vendor's release key, pinned beside it."""
    control_plane_cidrs: tuple[str, ...] = ("127.0.0.1/32",)
    """Addresses from which the control plane reaches a cluster's public endpoint while a grant is
    open; the default fits the sandbox only."""
    agent_poll_seconds: int = Field(default=20, ge=1, le=60)
    """How long a long poll waits at most before it answers with nothing new."""
    public_url: str | None = None
    """Address under which browsers reach this API; None is the address it listens on. Identity
    providers send people back to it, and changes are taken only from pages that it served."""
    sign_in_key_file: Path | None = None
    """Private key (PEM, RSA or P-256, mode 0600) by which the API proves itself to identity
    providers; its public half is `GET /v1/sign-in/keys`. None switches signing in off."""
    sign_in_providers_file: Path | None = None
    """JSON list of providers that the operator vouches for (docs/how-to/sign-in.md); the first is
    where people without an organization sign in. None: only what organizations' files say."""
    redis_url_file: Path | None = None
    """File with the `redis://` address of the counters that all processes of the API share. None,
    and while Redis is away: each process counts for itself."""
    sign_in_per_address: int = Field(default=120, ge=4)
    """Calls of the sign-in routes per minute from one address; a sign-in takes two. Raise it where
    many people come from one address."""
    sign_in_per_provider: int = Field(default=1200, ge=4)
    """Sign-ins per minute that may begin at one identity provider; while there are more, only
    places from which somebody signed in lately go on."""
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    """Networks of the proxies in front of the API, whose `X-Forwarded-For` is believed; empty: the
    header is ignored and a request comes from its peer."""
    session_idle_minutes: int = Field(default=30, ge=1, le=24 * 60)
    """A browser's session ends when nothing was asked for so long."""
    session_hours: int = Field(default=12, ge=1, le=24 * 7)
    """A browser's session ends after so long in any case."""

    def browser_url(self) -> str:
        """Return the address under which browsers reach this API."""
        return (self.public_url or f"http://{self.api_host}:{self.api_port}").rstrip("/")

    def redis_url(self) -> str | None:
        """Return the address of the shared counters, if any. Raises: SecretFileError."""
        if self.redis_url_file is None:
            return None
        return read_secret(self.redis_url_file, "redis_url_file")

    def public_key(self) -> str:
        """Return the control plane's public key as agents are given it."""
        return self.control_plane_public_key
