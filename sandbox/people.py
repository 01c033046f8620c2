"""The demo's people: who they are and their bearer tokens.

Used by `sandbox.parts` (the control plane learns the hashes) and the demo (which acts as them).
Separate so that one list decides both.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from sandbox.home import Home, write_private

ISSUER = "https://sandbox.ringfence.dev"


@dataclass(frozen=True)
class Person:
    """One person of the demo; `organization` and `boundary` None mean everywhere above."""

    subject: str
    display: str
    role: str
    boundary: str | None = None


PEOPLE: tuple[Person, ...] = (
    Person("sam@acme.test", "Sam Okafor", "solution-architect"),
    Person("ana@acme.test", "Ana Lindqvist", "approver"),
    Person("omar@acme.test", "Omar Haddad", "auditor"),
    Person("max@acme.test", "Max Weber", "platform-admin"),
    Person("pia@acme.test", "Pia Moreau", "engineer", "payments"),
    Person("rui@acme.test", "Rui Tanaka", "engineer", "research"),
)


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
