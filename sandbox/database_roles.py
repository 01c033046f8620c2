"""Create the database roles of the sandbox; run once by the supervisor at every start."""

from __future__ import annotations

import sys

from sandbox import postgres
from sandbox.home import Home


def main() -> int:
    """Make roles and database with the home's generated passwords."""
    home = Home.current()
    roles = (
        postgres.OWNER,
        *postgres.PROCESS_ROLES,
        postgres.AUDITOR_ROLE,
        postgres.STATE_ROLE,
    )
    passwords = {role: home.secret(f"database-{role}") for role in roles}
    url = (home.secrets / "database-url-postgres").read_text().strip()
    postgres.ensure_roles(url, passwords)
    return 0


if __name__ == "__main__":
    sys.exit(main())
