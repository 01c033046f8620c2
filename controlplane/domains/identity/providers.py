"""Which identity provider somebody signs in with, and what is pinned about it.

Used by `sign_in`. Two sources: the organization's file, kept as a row, and the operator's own file
of settings for providers that the operator vouches for. Separate because trust is decided here.

NB: a file of an organization may not say where an issuer's keys come from: whoever could would sign
in as anybody of that issuer. So its metadata address must be on the issuer's own host; another one
comes only from the operator.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from sqlalchemy.orm import Session

from controlplane.adapters.oidc.provider import ProviderPins
from controlplane.core.errors import NotFoundError
from controlplane.domains.identity import repository


class ProvidersFileError(ValueError):
    """The operator's file cannot be used; the message names it and the place in it."""


class ProviderEntry(BaseModel):
    """One provider of the operator's file."""

    model_config = ConfigDict(extra="forbid")

    issuer: str = Field(min_length=1)
    client_id: str = Field(min_length=1)
    cli_client_id: str | None = None
    metadata_url: str | None = None
    groups_claim: str | None = None
    person_key_claim: str | None = None
    display_claim: str = "name"
    scopes: tuple[str, ...] = ("openid",)

    def pins(self) -> ProviderPins:
        """Return the entry as what is pinned."""
        return ProviderPins(**self.model_dump())


@dataclass(frozen=True)
class Provider:
    """A provider and the organization whose people it vouches for, if any."""

    pins: ProviderPins
    organization_id: UUID | None


def read_providers(path: Path) -> tuple[ProviderPins, ...]:
    """Return the operator's providers; the first is where people without an organization go.

    Raises: ProvidersFileError.
    """
    try:
        entries = TypeAdapter(list[ProviderEntry]).validate_python(json.loads(path.read_text()))
    except OSError as error:
        raise ProvidersFileError(f"cannot read {path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ProvidersFileError(f"{path}: {place}: {first['msg']}") from error
    except ValueError as error:
        raise ProvidersFileError(f"{path} is not JSON") from error
    return tuple(entry.pins() for entry in entries)


class Providers:
    """Finds providers; rows first, then the operator's file."""

    def __init__(self, operator: Iterable[ProviderPins]) -> None:
        self._operator = {pins.issuer: pins for pins in operator}

    def of_organization(self, session: Session, name: str | None) -> Provider:
        """Return where the people of an organization sign in; None is the operator's own people.

        Raises: NotFoundError, the same for an unknown organization and one without sign-in.
        """
        if name is None:
            for pins in self._operator.values():
                return self.of_issuer(session, pins.issuer)
            raise _none_set_up("")
        organization_id = repository.find_organization_id(session, name)
        rows = repository.list_sign_in_providers(session, organization_id, None)
        found = self._from_row(rows[0]) if organization_id is not None and rows else None
        if found is None:
            raise _none_set_up(f" for the organization {name!r}")
        return found

    def of_issuer(self, session: Session, issuer: str) -> Provider:
        """Return the provider with this issuer. Raises: NotFoundError when there is none now."""
        rows = repository.list_sign_in_providers(session, None, issuer)
        found = self._from_row(rows[0]) if rows else None
        if found is None and issuer in self._operator:
            found = Provider(self._operator[issuer], None)
        if found is None:
            raise _none_set_up("")
        return found

    def _from_row(self, row: Any) -> Provider | None:
        if row.client_id is None:
            pins = self._operator.get(row.issuer)
            return Provider(pins, row.organization_id) if pins is not None else None
        operator = self._operator.get(row.issuer)
        address = row.metadata_url
        if address is None or not is_same_host(address, row.issuer):
            address = operator.metadata_url if operator is not None else None
        pins = ProviderPins(
            issuer=row.issuer,
            client_id=row.client_id,
            cli_client_id=row.cli_client_id,
            metadata_url=address,
            groups_claim=row.groups_claim,
            person_key_claim=row.person_key_claim,
            display_claim=row.display_claim or "name",
            scopes=("openid", *(s for s in (row.scopes or "").split() if s != "openid")),
        )
        return Provider(pins, row.organization_id)


def is_same_host(address: str, issuer: str) -> bool:
    """Tell whether an https address is on the very host and port of the issuer."""
    one, other = urlsplit(address), urlsplit(issuer)
    return one.scheme == "https" and (one.scheme, one.netloc) == (other.scheme, other.netloc)


def _none_set_up(where: str) -> NotFoundError:
    return NotFoundError(
        f"no sign-in is set up{where}",
        code="no-sign-in",
        fix="name the organization as its file does; an administrator sets `sign_in` there",
    )
