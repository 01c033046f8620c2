"""Seal the break-glass administrator for two custodians: `python -m controlplane.break_glass seal`.

Offline, by whoever operates the control plane, as the database's owner: the API's role can use a
sealed secret up but never make one. The secret has two parts, each written into a file of its own;
only a hash over both is stored. Sealing again replaces a secret that was not used.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from controlplane.bootstrap import OWNER_SETTING
from controlplane.config import SecretFileError, read_secret
from controlplane.core import audit, logging
from controlplane.core.actor import OpContext, system_actor
from controlplane.core.clock import now
from controlplane.core.db import Database, Scope
from controlplane.core.ids import new_id
from controlplane.domains.identity.tokens import new_token, seal_hash
from controlplane.tables.break_glass import BreakGlassSeal
from controlplane.tables.identity import Principal

Parts = tuple[str, str]


class CustodianError(ValueError):
    """The custodians cannot be two people who answer for an opening; the message says why."""


def new_parts() -> Parts:
    """Return two independent random parts; either alone says nothing of the secret."""
    return new_token("rfb"), new_token("rfb")


def seal(url: str, custodians: Sequence[str], parts: Parts) -> None:
    """Seal a secret for two custodians, in place of an unused one. Raises: CustodianError."""
    database = Database.connect(url, pool_size=1)
    context = OpContext(system_actor("break-glass"), f"break-glass/{new_id()}", Scope.platform())
    try:
        with database.transaction(Scope.platform()) as session:
            first, second = _two_people(session, custodians)
            replaced = session.execute(
                update(BreakGlassSeal)
                .where(BreakGlassSeal.opened_at.is_(None), BreakGlassSeal.replaced_at.is_(None))
                .values(replaced_at=now())
                .returning(BreakGlassSeal.id)
            ).all()
            row = BreakGlassSeal(
                secret_hash=seal_hash(parts), first_custodian=first.id, second_custodian=second.id
            )
            session.add(row)
            session.flush()
            audit.append(
                session,
                context,
                "break-glass.sealed",
                target="break-glass/installation",
                detail={
                    "seal": str(row.id),
                    "custodians": [str(first.id), str(second.id)],
                    "replaced": len(replaced),
                },
            )
    finally:
        database.close()


def _two_people(session: Session, custodians: Sequence[str]) -> tuple[Principal, Principal]:
    """Return the custodians, who must be two people by person key too. Raises: CustodianError."""
    if len(custodians) != 2:
        raise CustodianError(f"a secret has two custodians, and {len(custodians)} are named")
    first, second = (_person(session, name) for name in custodians)
    if first.id == second.id or (first.person_key and first.person_key == second.person_key):
        raise CustodianError("both custodians are one person; name two people")
    return first, second


def _person(session: Session, name: str) -> Principal:
    """Return the one enabled person of a subject, or of `ISSUER#SUBJECT`."""
    issuer, found_issuer, subject = name.rpartition("#")
    is_full = bool(found_issuer) and issuer.startswith("https://")
    statement = select(Principal).where(
        Principal.subject == (subject if is_full else name),
        Principal.kind == "human",
        Principal.disabled_at.is_(None),
    )
    if is_full:
        statement = statement.where(Principal.issuer == issuer)
    found = session.scalars(statement).all()
    if len(found) != 1:
        raise CustodianError(
            f"{name!r} is not one person who is known and enabled; where several identity providers"
            " have the subject, write ISSUER#SUBJECT"
        )
    return found[0]


def seal_into_files(url: str, custodians: Sequence[str], files: Sequence[Path]) -> None:
    """Seal, with each part in its custodian's own new file of mode 0600.

    The parts are on the disk before the seal holds; without a seal no file stays. Raises: OSError,
    CustodianError.
    """
    parts = new_parts()
    made: list[Path] = []
    is_sealed = False
    try:
        for file, part in zip(files, parts, strict=True):
            handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            made.append(file)
            with os.fdopen(handle, "w") as opened:
                opened.write(f"{part}\n")
                opened.flush()
                os.fsync(opened.fileno())
        seal(url, custodians, parts)
        is_sealed = True
    finally:
        for file in made if not is_sealed else ():
            file.unlink(missing_ok=True)


def main() -> int:
    """Run from the command line; exit code 2 names what is missing or wrong."""
    parser = argparse.ArgumentParser(description="Seal the break-glass administrator.")
    parser.add_argument("action", choices=["seal"], help="make a secret in two parts")
    help_text = "who keeps a part; twice, each followed by --file"
    parser.add_argument("--custodian", action="append", default=[], help=help_text)
    help_text = "new file for that custodian's part"
    parser.add_argument("--file", action="append", default=[], type=Path, help=help_text)
    asked = parser.parse_args()
    logging.configure("break-glass")
    if len(asked.custodian) != 2 or len(asked.file) != 2:
        return _refuse("name two custodians, each with a file: --custodian SUBJECT --file PATH")
    name = os.environ.get(f"RINGFENCE_{OWNER_SETTING.upper()}")
    if not name:
        return _refuse(
            f"RINGFENCE_{OWNER_SETTING.upper()} is not set; name the file that holds the owner's"
            " address"
        )
    try:
        seal_into_files(read_secret(Path(name), OWNER_SETTING), asked.custodian, asked.file)
    except (SecretFileError, CustodianError) as error:
        return _refuse(str(error))
    except OSError as error:
        return _refuse(f"--file: {error.filename}: {error.strerror}")
    except OperationalError:
        print("the database cannot be reached with the owner's address", file=sys.stderr)
        return 1
    print("sealed; give each custodian their part, and keep no copy:", file=sys.stderr)
    for custodian, file in zip(asked.custodian, asked.file, strict=True):
        print(f"  {custodian}: {file}", file=sys.stderr)
    return 0


def _refuse(message: str) -> int:
    print(message, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
