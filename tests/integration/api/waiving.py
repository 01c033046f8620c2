"""A guest of acme and the people who decide on the waiver; used by the tests of waivers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from controlplane.core.ids import new_id
from controlplane.domains.identity.tokens import token_hash
from tests.integration.api.conftest import PersonOf
from tests.integration.api.people import token_of
from tests.postgres import DatabaseUrls

VENDOR = "https://idp.vendor.example"
WAIVERS = "/v1/organizations/acme/waivers"
GUEST = "gus@vendor.test"
REASON = "reviews the install with us"


def terms(**changes: Any) -> dict[str, Any]:
    """Return a request for the guest: the whole organization, for ten days."""
    ends_at = datetime.now(UTC) + timedelta(days=10)
    asked = {"subject": GUEST, "issuer": VENDOR, "reason": REASON, "ticket": "SEC-12"}
    return {**asked, "ends_at": ends_at.isoformat(), **changes}


@dataclass(frozen=True)
class Waiving:
    """Acme, its callers, and what one does about waivers."""

    acme: PersonOf
    urls: DatabaseUrls

    def as_guest(self, path: str = "/v1/boundaries") -> Any:
        """Ask something as the guest."""
        return self.acme(GUEST.split("@")[0]).get(path)

    def ask(self, who: str = "sam", **changes: Any) -> dict[str, Any]:
        """Request a waiver and return it."""
        answer = self.acme(who).post(WAIVERS, terms(**changes))
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def decide(self, who: str, waiver: dict[str, Any], verb: str = "approve") -> Any:
        """Approve, deny or revoke as somebody; the answer."""
        body = {"reason": f"{verb} it"}
        if verb == "approve":
            body["digest"] = waiver["digest"]
        return self.acme(who).post(f"{WAIVERS}/{waiver['id']}/{verb}", body)

    def let_in(self, **changes: Any) -> dict[str, Any]:
        """Request a waiver and have ana and max approve it."""
        waiver = self.ask(**changes)
        for who in ("ana", "max"):
            answer = self.decide(who, waiver)
            assert answer.status_code == 200, answer.text
        shown: dict[str, Any] = answer.json()
        return shown

    def show(self, waiver: dict[str, Any]) -> dict[str, Any]:
        """Return a waiver as the list shows it to the auditor."""
        rows = self.acme("omar").get(WAIVERS).json()["waivers"]
        (found,) = [w for w in rows if w["id"] == waiver["id"]]
        shown: dict[str, Any] = found
        return shown

    def run(self, statement: str, *values: Any) -> list[Any]:
        """Run SQL as the server's administrator, as time or an accident would."""
        with psycopg.connect(self.urls.admin) as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def same_person(self, *subjects: str) -> None:
        """Give several identities the employee number of one person."""
        self.run(
            "UPDATE principal SET person_key = '4711' WHERE subject = ANY (%s)", list(subjects)
        )

    def give(self, role: str, subject: str, boundary: str | None = None) -> None:
        """Give somebody a role, for the organization or for one boundary."""
        self.run(
            "INSERT INTO role_assignment (organization_id, id, boundary_id, principal_id, role,"
            " valid_from, reason) SELECT o.id, gen_random_uuid(),"
            " (SELECT b.id FROM boundary b WHERE b.name = %s), p.id, %s, now(), 'test'"
            " FROM organization o, principal p WHERE o.name = 'acme' AND p.subject = %s",
            boundary,
            role,
            subject,
        )

    def register(self, subject: str, issuer: str, kind: str = "human") -> None:
        """Make a principal with a token that `acme(...)` finds by the part before the @."""
        who = new_id()
        self.run(
            "INSERT INTO principal (id, issuer, subject, kind, display) VALUES (%s, %s, %s, %s, %s)"
            " ON CONFLICT (issuer, subject) DO NOTHING",
            *(who, issuer, subject, kind, subject),
        )
        self.run(
            "INSERT INTO api_token (id, principal_id, token_hash, expires_at)"
            " SELECT %s, id, %s, now() + interval '1 hour' FROM principal"
            " WHERE issuer = %s AND subject = %s",
            *(
                new_id(),
                token_hash(token_of(f"{subject.split('@')[0]}@acme.test")),
                issuer,
                subject,
            ),
        )


def prepare(acme: PersonOf, urls: DatabaseUrls) -> Waiving:
    """Return acme with a guest who holds the role approver and no waiver."""
    waiving = Waiving(acme, urls)
    waiving.register(GUEST, VENDOR)
    waiving.give("approver", GUEST)
    return waiving
