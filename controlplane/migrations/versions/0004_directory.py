"""Directory: scoped tokens, service identities, mapped groups, SCIM."""

from __future__ import annotations

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nothing yet."""


def downgrade() -> None:
    raise RuntimeError("migrations are not undone: restore the database instead")
