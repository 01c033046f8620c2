"""Alembic's entry: one transaction per migration, as the owner, with short lock waits."""

from __future__ import annotations

from alembic import context
from sqlalchemy import text

from controlplane.core.db import make_engine
from controlplane.tables import metadata


def run() -> None:
    """Run the migrations on the database of the configuration's `url` attribute."""
    engine = make_engine(context.config.attributes["url"], pool_size=1)
    with engine.connect() as connection:
        connection.execute(text("SET lock_timeout = '5s'"))
        connection.execute(text("SET statement_timeout = '60s'"))
        # One migration at a time, also when two processes start together.
        connection.execute(text("SELECT pg_advisory_lock(727001)"))
        connection.commit()
        context.configure(
            connection=connection,
            target_metadata=metadata,
            transaction_per_migration=True,
            compare_server_default=False,
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.execute(text("SELECT pg_advisory_unlock(727001)"))
        connection.commit()
    engine.dispose()


run()
