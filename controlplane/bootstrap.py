"""Register people, blueprints and models: `python -m controlplane.bootstrap --people FILE …`.

Run once per start by whoever operates the control plane, as the database's owner: the API's role
cannot make people or tokens. Idempotent. A person's token is given in a 0600 file and stored as a
hash only; a changed token replaces the old one.

Files: `--people` a JSON list of `{issuer, subject, display, role, person_key?, token}`;
`--blueprints` a JSON list of manifests (`wire.manifest`); `--models` a JSON file `{"artifacts":
[{name, kind, digest, size, format, base_digest, version?}]}`.
"""

from __future__ import annotations

import argparse
import json
import os
import stat
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from controlplane.config import SecretFileError, read_secret
from controlplane.core import audit, logging
from controlplane.core.actor import OpContext, system_actor
from controlplane.core.clock import now
from controlplane.core.db import Database, Scope
from controlplane.core.errors import RingfenceError
from controlplane.core.ids import new_id
from controlplane.domains.blueprint_registry import service as blueprints
from controlplane.domains.catalog import service as catalog
from controlplane.domains.identity.tokens import MINIMUM_LENGTH, token_hash
from controlplane.tables.identity import ApiToken, PlatformRole, Principal, RoleName
from wire.manifest import BlueprintManifest

OWNER_SETTING = "owner_database_url_file"
TOKEN_LIFETIME = timedelta(days=90)
PLATFORM_ROLES = frozenset({RoleName.PLATFORM_ADMIN, RoleName.SOLUTION_ARCHITECT})
"""Roles that also count at the platform's layer: they may bring a new organization into being."""


class BootstrapError(RuntimeError):
    """A file cannot be used; the message names it and the fix, never its content."""


class Person(BaseModel):
    """One person with the bearer token that is theirs."""

    model_config = ConfigDict(extra="ignore")

    issuer: str = Field(min_length=1)
    subject: str = Field(min_length=1)
    display: str = Field(min_length=1)
    role: RoleName
    person_key: str | None = None
    """One value for all identities of one person; None leaves what a sign-in said."""
    token: str = Field(min_length=MINIMUM_LENGTH, repr=False)


class ModelEntry(BaseModel):
    """One file of the artifact store, as the store's own manifest names it."""

    model_config = ConfigDict(extra="ignore")

    name: str
    kind: Literal["Base", "Adapter", "base", "adapter"]
    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    size: int = Field(gt=0)
    format: str
    base_digest: str | None = None
    version: str | None = None


def register_people(session: Session, ctx: OpContext, people: list[Person]) -> None:
    """Make or find each person, their token and their platform role."""
    for person in people:
        principal = session.scalars(
            select(Principal).where(
                Principal.issuer == person.issuer, Principal.subject == person.subject
            )
        ).one_or_none()
        if principal is None:
            principal = Principal(
                id=new_id(),
                issuer=person.issuer,
                subject=person.subject,
                kind="human",
                display=person.display,
            )
            session.add(principal)
            session.flush()
            audit.append(session, ctx, "principal.registered", target=f"principal/{principal.id}")
        principal.display = person.display
        if person.person_key is not None:
            principal.person_key = person.person_key
        _set_token(session, principal, person.token)
        _set_platform_role(session, principal, person.role)


def _set_token(session: Session, principal: Principal, token: str) -> None:
    wanted = token_hash(token)
    tokens = session.scalars(
        select(ApiToken).where(ApiToken.principal_id == principal.id, ApiToken.revoked_at.is_(None))
    ).all()
    kept = [t for t in tokens if t.token_hash == wanted]
    for other in tokens:
        if other.token_hash != wanted:
            other.revoked_at = now()
    if kept:
        kept[0].expires_at = now() + TOKEN_LIFETIME
        return
    session.add(
        ApiToken(principal_id=principal.id, token_hash=wanted, expires_at=now() + TOKEN_LIFETIME)
    )
    session.flush()


def _set_platform_role(session: Session, principal: Principal, role: RoleName) -> None:
    held = session.scalars(
        select(PlatformRole).where(
            PlatformRole.principal_id == principal.id, PlatformRole.valid_until.is_(None)
        )
    ).all()
    for other in held:
        if other.role != role or role not in PLATFORM_ROLES:
            other.valid_until = now()
    if role in PLATFORM_ROLES and role not in {r.role for r in held}:
        session.add(PlatformRole(principal_id=principal.id, role=role, valid_from=now()))
    session.flush()


def register_models(session: Session, ctx: OpContext, models: list[ModelEntry]) -> None:
    """Register what the artifact store holds; the version is part of the digest unless given."""
    for model in models:
        catalog.offer(
            session,
            ctx,
            name=model.name,
            # A model trained again is another version, never a changed one.
            version=model.version or model.digest.removeprefix("sha256:")[:12],
            kind=model.kind.lower(),
            format=model.format,
            digest=model.digest,
            size_bytes=model.size,
            base_digest=model.base_digest,
        )


def _read(path: Path, adapter: TypeAdapter[Any], key: str | None = None) -> Any:
    try:
        document = json.loads(path.read_text())
        if key is not None and isinstance(document, dict):
            document = document[key]
        return adapter.validate_python(document)
    except OSError as error:
        raise BootstrapError(f"cannot read {path}: {error.strerror}") from error
    except ValidationError as error:
        # Only places and reasons: the people file holds tokens.
        found = "; ".join(
            f"{'.'.join(str(p) for p in e['loc'])}: {e['msg']}"
            for e in error.errors(include_input=False, include_url=False, include_context=False)
        )
        raise BootstrapError(f"{path}: {found}") from None
    except (ValueError, KeyError) as error:
        raise BootstrapError(f"{path} is not the JSON that is needed ({error})") from None


def run(url: str, people: Path | None, manifests: Path | None, models: Path | None) -> None:
    """Register everything in one transaction. Raises: BootstrapError, RingfenceError."""
    database = Database.connect(url, pool_size=1)
    context = OpContext(system_actor("bootstrap"), f"bootstrap/{new_id()}", Scope.platform())
    try:
        with database.transaction(Scope.platform()) as session:
            # Two starts at once must not register the same thing twice.
            session.execute(text("SELECT pg_advisory_xact_lock(727002)"))
            if people is not None:
                if people.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                    raise BootstrapError(f"{people} is readable by others; chmod 600 {people}")
                register_people(session, context, _read(people, TypeAdapter(list[Person])))
            if manifests is not None:
                for manifest in _read(manifests, TypeAdapter(list[BlueprintManifest])):
                    blueprints.register(session, context, manifest)
            if models is not None:
                register_models(
                    session, context, _read(models, TypeAdapter(list[ModelEntry]), "artifacts")
                )
    finally:
        database.close()


def main() -> int:
    """Run from the command line; exit code 2 for unusable files, with the fix."""
    parser = argparse.ArgumentParser(description="Register people, blueprints and models.")
    parser.add_argument("--people", type=Path, help="JSON list of people with tokens, mode 0600")
    parser.add_argument("--blueprints", type=Path, help="JSON list of blueprint manifests")
    parser.add_argument("--models", type=Path, help="JSON manifest of the artifact store")
    arguments = parser.parse_args()
    logging.configure("bootstrap")
    name = os.environ.get(f"RINGFENCE_{OWNER_SETTING.upper()}")
    try:
        if not name:
            raise BootstrapError(f"RINGFENCE_{OWNER_SETTING.upper()} is not set")
        url = read_secret(Path(name), OWNER_SETTING)
        run(url, arguments.people, arguments.blueprints, arguments.models)
    except (BootstrapError, SecretFileError, OSError) as error:
        print(str(error), file=sys.stderr)
        return 2
    except RingfenceError as error:
        print(f"{error.public_message}; {error.fix or 'nothing was changed'}", file=sys.stderr)
        return 2
    print("people, blueprints and models registered")
    return 0


if __name__ == "__main__":
    sys.exit(main())
