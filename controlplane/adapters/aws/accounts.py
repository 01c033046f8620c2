"""Which cloud accounts exist, for the check of an organization's file.

Only the rehearsal account can tell; in production nobody can ask AWS about somebody else's
account, so the check is left to the verification of the connection. Used by `domains/documents`.
"""

from __future__ import annotations

from typing import Protocol

import httpx2

from controlplane.core.errors import UnavailableError

TIMEOUT_SECONDS = 5.0


class AccountDirectory(Protocol):
    """Knows which accounts exist."""

    def list_accounts(self) -> frozenset[str] | None:
        """Return the numbers of all accounts, or None when that cannot be known."""


class UnknownAccounts:
    """Production: existence is found out by verifying the connection."""

    def list_accounts(self) -> frozenset[str] | None:
        """Return None: it cannot be known."""
        return None


class RehearsalAccounts:
    """The sandbox's emulated accounts."""

    def __init__(self, endpoint_url: str) -> None:
        self._url = f"{endpoint_url.rstrip('/')}/_rehearsal/accounts"

    def list_accounts(self) -> frozenset[str] | None:
        """Return the emulated accounts. Raises: UnavailableError."""
        try:
            with httpx2.Client(timeout=TIMEOUT_SECONDS, trust_env=False) as client:
                response = client.get(self._url)
                response.raise_for_status()
                document = response.json()
        except (httpx2.HTTPError, ValueError) as error:
            raise UnavailableError(
                "the rehearsal account does not answer",
                fix="look at `ringfence status`",
                internal_context={"cause": type(error).__name__},
            ) from error
        entries = document["accounts"] if isinstance(document, dict) else document
        return frozenset(_number(entry) for entry in entries)


def account_directory(endpoint_url: str | None) -> AccountDirectory:
    """Return the directory for a setting: the rehearsal account's, or none."""
    return RehearsalAccounts(endpoint_url) if endpoint_url else UnknownAccounts()


def _number(entry: object) -> str:
    """Take an account as its number or as a mapping with `account` or `id`."""
    if isinstance(entry, dict):
        return str(entry.get("account") or entry.get("id"))
    return str(entry)
