"""Seal the break-glass administrator: `python -m controlplane.break_glass seal`.

Offline, by whoever operates the control plane, as the database's owner: the API's role can use a
sealed secret up but never make one. The secret is printed once and kept as a hash; put it into an
envelope that two people open. Sealing again replaces a secret that was not used.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from sqlalchemy import update
from sqlalchemy.exc import OperationalError

from controlplane.bootstrap import OWNER_SETTING
from controlplane.config import SecretFileError, read_secret
from controlplane.core import audit, logging
from controlplane.core.actor import OpContext, system_actor
from controlplane.core.clock import now
from controlplane.core.db import Database, Scope
from controlplane.core.ids import new_id
from controlplane.domains.identity.tokens import new_token, token_hash
from controlplane.tables.break_glass import BreakGlassSeal


def seal(url: str) -> str:
    """Seal a new secret in place of an unused one; return it, the only time that it exists."""
    secret = new_token("rfb")
    database = Database.connect(url, pool_size=1)
    context = OpContext(system_actor("break-glass"), f"break-glass/{new_id()}", Scope.platform())
    try:
        with database.transaction(Scope.platform()) as session:
            replaced = session.execute(
                update(BreakGlassSeal)
                .where(BreakGlassSeal.opened_at.is_(None), BreakGlassSeal.replaced_at.is_(None))
                .values(replaced_at=now())
                .returning(BreakGlassSeal.id)
            ).all()
            row = BreakGlassSeal(secret_hash=token_hash(secret))
            session.add(row)
            session.flush()
            audit.append(
                session,
                context,
                "break-glass.sealed",
                target="break-glass/installation",
                detail={"seal": str(row.id), "replaced": len(replaced)},
            )
    finally:
        database.close()
    return secret


def main() -> int:
    """Run from the command line; exit code 2 names a setting that is missing."""
    parser = argparse.ArgumentParser(description="Seal the break-glass administrator.")
    parser.add_argument("action", choices=["seal"], help="make a secret and print it once")
    parser.parse_args()
    logging.configure("break-glass")
    name = os.environ.get(f"RINGFENCE_{OWNER_SETTING.upper()}")
    if not name:
        print(
            f"RINGFENCE_{OWNER_SETTING.upper()} is not set; name the file that holds the owner's"
            " address",
            file=sys.stderr,
        )
        return 2
    try:
        secret = seal(read_secret(Path(name), OWNER_SETTING))
    except SecretFileError as error:
        print(str(error), file=sys.stderr)
        return 2
    except OperationalError:
        print("the database cannot be reached with the owner's address", file=sys.stderr)
        return 1
    print("sealed; this is the only time that the secret is shown", file=sys.stderr)
    print(secret)
    return 0


if __name__ == "__main__":
    sys.exit(main())
