"""Apply the migrations: `python -m controlplane.migrate`, run once before the other processes.

Reads the owner's address from the file that `RINGFENCE_OWNER_DATABASE_URL_FILE` names. The roles
(`ringfence_owner`, `_api`, `_worker`, `_scheduler`) exist before; migrations only grant.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy.exc import OperationalError

MIGRATIONS = Path(__file__).parent / "migrations"
SETTING = "RINGFENCE_OWNER_DATABASE_URL_FILE"


def alembic_config(url: str) -> Config:
    """Return Alembic's configuration; the address stays in memory and out of every file."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["url"] = url
    return config


def upgrade(url: str) -> None:
    """Bring the database to the newest migration."""
    command.upgrade(alembic_config(url), "head")


def main() -> int:
    """Run from the command line; exit code 2 names a setting that is missing."""
    name = os.environ.get(SETTING)
    if not name:
        print(
            f"{SETTING} is not set; name the file that holds the owner's address", file=sys.stderr
        )
        return 2
    try:
        url = Path(name).read_text().strip()
    except OSError as error:
        print(f"{SETTING}: cannot read {name}: {error.strerror}", file=sys.stderr)
        return 2
    try:
        upgrade(url)
    except OperationalError as error:
        cause = str(error.orig).strip().splitlines()[0]
        print(f"the database cannot be reached or migrated: {cause}", file=sys.stderr)
        return 1
    print("migrations applied")
    return 0


if __name__ == "__main__":
    sys.exit(main())
