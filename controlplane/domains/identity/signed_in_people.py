"""Who a verified ID token speaks of, and what follows for the principal and its groups.

Called by `sign_in`. Display name, person key and claimed groups come from the token alone: no
person edits them here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeGuard
from uuid import UUID

from sqlalchemy.orm import Session

from controlplane.adapters.oidc.provider import ProviderPins
from controlplane.adapters.oidc.tokens import TokenRefusedError
from controlplane.core import audit
from controlplane.core.actor import Actor, OpContext
from controlplane.core.db import Scope
from controlplane.domains.identity import repository
from controlplane.domains.identity.memberships import set_claimed_groups
from controlplane.domains.identity.providers import Provider

LONGEST_NAME = 200
MOST_METHODS = 10
MOST_GROUPS = 5000


@dataclass(frozen=True)
class ClaimedPerson:
    """A person as the token says."""

    issuer: str
    subject: str
    display: str | None
    """None: the provider sent no name, so the one that is known stays."""
    person_key: str | None
    groups: frozenset[str]
    methods: tuple[str, ...]
    """How the person proved themselves to the provider (`amr`); empty: it does not say."""
    context: str | None
    """The class of it (`acr`)."""


@dataclass(frozen=True)
class SignedIn:
    """A person that was let in, or is disabled."""

    principal_id: UUID
    context: OpContext
    is_enabled: bool
    facts: dict[str, Any]

    def record(self, session: Session, method: str, more: dict[str, Any]) -> None:
        """Append the event of the sign-in."""
        audit.append(
            session,
            self.context,
            "sign-in.succeeded",
            target=f"principal/{self.principal_id}",
            detail={"method": method, **self.facts, **more},
        )


def claimed_person(pins: ProviderPins, claims: dict[str, Any]) -> ClaimedPerson:
    """Return the person of verified claims. Raises: TokenRefusedError for unusable ones."""
    display = claims.get(pins.display_claim)
    shown = display if isinstance(display, str) and display.isprintable() else ""
    key = claims.get(pins.person_key_claim) if pins.person_key_claim else None
    if key is not None and (
        isinstance(key, bool) or not isinstance(key, str | int) or not str(key).strip()
    ):
        raise TokenRefusedError("person-key-claim")
    # A claim that is left out means no groups: somebody removed from all must not keep any.
    groups = claims.get(pins.groups_claim, []) if pins.groups_claim else []
    if (
        not isinstance(groups, list)
        or len(groups) > MOST_GROUPS
        or not all(isinstance(g, str) for g in groups)
    ):
        raise TokenRefusedError("groups-claim")
    methods = claims.get("amr")
    context = claims.get("acr")
    return ClaimedPerson(
        issuer=pins.issuer,
        subject=claims["sub"],
        display=shown[:LONGEST_NAME] or None,
        person_key=str(key).strip()[:LONGEST_NAME] if key is not None else None,
        groups=frozenset(groups),
        methods=tuple(m[:LONGEST_NAME] for m in methods if _is_plain(m))[:MOST_METHODS]
        if isinstance(methods, list)
        else (),
        context=context[:LONGEST_NAME] if _is_plain(context) else None,
    )


def _is_plain(value: Any) -> TypeGuard[str]:
    """Tell whether a claim's value can be kept and shown."""
    return isinstance(value, str) and value != "" and value.isprintable()


def admit(session: Session, provider: Provider, person: ClaimedPerson, request_id: str) -> SignedIn:
    """Make or find the principal and bring it to what the token says; a disabled one is not."""
    known = repository.list_ids_by_subject(session, person.subject)
    principal_id = repository.ensure_principal(
        session, person.issuer, person.subject, person.display or person.subject
    )
    is_enabled, key_changed, display = repository.record_sign_in(
        session,
        principal_id,
        display=person.display,
        person_key=person.person_key,
        methods=person.methods,
        context=person.context,
    )
    organization_id = provider.organization_id
    context = OpContext(
        Actor(
            principal_id,
            person.issuer,
            person.subject,
            "human",
            organization_id,
            display,
            person.person_key,
        ),
        request_id,
        Scope(organization_id, None, is_platform=True),
    )
    if not is_enabled:
        return SignedIn(principal_id, context, is_enabled=False, facts={})
    if principal_id not in known:
        audit.append(session, context, "principal.registered", target=f"principal/{principal_id}")
    groups: list[str] = []
    if organization_id is not None and provider.pins.groups_claim is not None:
        groups = set_claimed_groups(session, context, organization_id, principal_id, person.groups)
    facts = {
        "groups": groups,
        "person_key_changed": key_changed,
        "methods": list(person.methods),
        "context": person.context,
    }
    return SignedIn(principal_id, context, is_enabled=True, facts=facts)
