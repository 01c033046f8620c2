"""The demo's people: who they are, what their identity provider says of them, and their tokens.

Used by `sandbox.parts` (the control plane learns the hashes, the identity provider the claims) and
the demo (which acts as them). Separate so that one list decides all.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from sandbox.home import Home, write_private

ISSUER = "https://sandbox.ringfence.dev"


@dataclass(frozen=True)
class Person:
    """One identity of the demo; `boundary` None means everywhere above."""

    subject: str
    display: str
    role: str
    employee_number: str
    """The same for all identities of one person: what four eyes go by."""
    boundary: str | None = None
    groups: tuple[str, ...] = ()
    """What the identity provider's groups claim says."""
    ready: bool = True
    """Offered on the login page, and with a bearer token of their own."""


EVERYBODY: tuple[Person, ...] = (
    Person("sam@acme.test", "Sam Okafor", "solution-architect", "1001"),
    Person("ana@acme.test", "Ana Lindqvist", "approver", "1002"),
    Person("omar@acme.test", "Omar Haddad", "auditor", "1003"),
    Person("max@acme.test", "Max Weber", "platform-admin", "1004"),
    Person(
        *("bea@acme.test", "Bea Novak", "boundary-admin", "1005", "payments"),
        groups=("payments-admins",),
    ),
    Person(
        *("pia@acme.test", "Pia Moreau", "engineer", "1006", "payments"),
        groups=("payments-engineers",),
    ),
    Person(
        *("ren@acme.test", "Ren Sato", "boundary-admin", "1007", "research"),
        groups=("research-admins",),
    ),
    Person(
        *("rui@acme.test", "Rui Tanaka", "engineer", "1008", "research"),
        groups=("research-engineers",),
    ),
    # Sam again, as an approver: another identity, the same person, so no second pair of eyes.
    Person("sam.admin@acme.test", "Sam Okafor (admin)", "approver", "1001", ready=False),
)
PEOPLE: tuple[Person, ...] = tuple(person for person in EVERYBODY if person.ready)
"""Those that the demo and the command line can act as."""


def token_name(subject: str) -> str:
    """Return the name of a person's token in the home's secrets."""
    return f"people/{subject}"


def write_people(home: Home) -> Path:
    """Write the file that `controlplane.bootstrap` reads; tokens are made at first start."""
    (home.secrets / "people").mkdir(exist_ok=True, mode=0o700)
    rows = [
        {
            "issuer": ISSUER,
            "subject": person.subject,
            "display": person.display,
            "person_key": person.employee_number,
            "role": person.role,
            "organization": "acme",
            "boundary": person.boundary,
            "token": home.secret(token_name(person.subject)),
        }
        for person in PEOPLE
    ]
    path = home.secrets / "people.json"
    write_private(path, json.dumps(rows, indent=2))
    return path
