"""Alembic migrations; every tenant table gets its row-level security where it is created."""
