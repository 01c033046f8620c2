"""Directory: scoped tokens, service identities, mapped groups, SCIM, break glass."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from controlplane.migrations import directory_of_people, rls

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Widen tokens, principals and groups; make the tables of SCIM and of break glass."""
    _widen_principals()
    _widen_tokens()
    _widen_groups()
    _make_service_identity()
    _make_provisioned_user()
    _make_break_glass()
    directory_of_people.create()
    _seed()


def _widen_principals() -> None:
    op.add_column("principal", sa.Column("organization_id", sa.UUID()))
    op.create_foreign_key(
        "fk_principal_organization_id", "principal", "organization", ["organization_id"], ["id"]
    )
    op.create_check_constraint(
        op.f("ck_principal_service"),
        "principal",
        "organization_id IS NULL OR kind = 'service'",
    )
    op.add_column(
        "identity_provider",
        sa.Column("subject_attribute", sa.Text(), server_default="userName", nullable=False),
    )
    op.create_check_constraint(
        op.f("ck_identity_provider_subject"),
        "identity_provider",
        "subject_attribute IN ('userName', 'externalId')",
    )


def _widen_tokens() -> None:
    for column in (
        sa.Column("name", sa.Text(), server_default="token", nullable=False),
        sa.Column("prefix", sa.Text(), server_default="", nullable=False),
        sa.Column("created_by", sa.UUID()),
        sa.Column("organization_id", sa.UUID()),
        sa.Column("boundary_id", sa.UUID()),
        sa.Column("roles", postgresql.JSONB(astext_type=sa.Text())),
        sa.Column("last_used_at", sa.DateTime(timezone=True)),
        sa.Column("revoked_by", sa.UUID()),
    ):
        op.add_column("api_token", column)
    op.create_foreign_key(
        "fk_api_token_organization_id", "api_token", "organization", ["organization_id"], ["id"]
    )
    op.create_foreign_key(
        "fk_api_token_organization_id_boundary_id",
        "api_token",
        "boundary",
        ["organization_id", "boundary_id"],
        ["organization_id", "id"],
    )
    op.create_check_constraint(
        op.f("ck_api_token_layers"),
        "api_token",
        "boundary_id IS NULL OR organization_id IS NOT NULL",
    )
    op.create_index("ix_api_token_principal_id", "api_token", ["principal_id"])


def _widen_groups() -> None:
    for column in (
        sa.Column("source", sa.Text(), server_default="file", nullable=False),
        sa.Column("external_id", sa.Text()),
        sa.Column("provisioned_at", sa.DateTime(timezone=True)),
        sa.Column("changed_at", sa.DateTime(timezone=True)),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
    ):
        op.add_column("principal_group", column)
    op.create_check_constraint(
        op.f("ck_principal_group_source"), "principal_group", "source IN ('file', 'scim')"
    )


def _make_service_identity() -> None:
    op.create_table(
        "service_identity",
        sa.Column("organization_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("principal_id", sa.UUID(), nullable=False),
        sa.Column("boundary_id", sa.UUID()),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("created_by", sa.UUID()),
        _moment("created_at"),
        sa.Column("disabled_at", sa.DateTime(timezone=True)),
        sa.Column("disabled_by", sa.UUID()),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
            name=op.f("fk_service_identity_organization_id"),
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "boundary_id"],
            ["boundary.organization_id", "boundary.id"],
            name=op.f("fk_service_identity_organization_id_boundary_id"),
        ),
        sa.ForeignKeyConstraint(
            ["principal_id"], ["principal.id"], name=op.f("fk_service_identity_principal_id")
        ),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_service_identity")),
        sa.UniqueConstraint(
            "organization_id", "name", name=op.f("uq_service_identity_organization_id_name")
        ),
        sa.UniqueConstraint(
            "organization_id",
            "principal_id",
            name=op.f("uq_service_identity_organization_id_principal_id"),
        ),
        info={"tenancy": "organization"},
    )
    rls.secure_organization_table("service_identity")
    rls.grant("service_identity", "SELECT")
    rls.grant("service_identity", "INSERT, UPDATE", "ringfence_api")


def _make_provisioned_user() -> None:
    op.create_table(
        "provisioned_user",
        sa.Column("organization_id", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("principal_id", sa.UUID(), nullable=False),
        sa.Column("user_name", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text()),
        sa.Column("is_active", sa.Boolean()),
        sa.Column("attributes", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        _moment("created_at"),
        _moment("changed_at"),
        sa.Column("removed_at", sa.DateTime(timezone=True)),
        sa.ForeignKeyConstraint(
            ["organization_id"],
            ["organization.id"],
            name=op.f("fk_provisioned_user_organization_id"),
        ),
        sa.ForeignKeyConstraint(
            ["principal_id"], ["principal.id"], name=op.f("fk_provisioned_user_principal_id")
        ),
        sa.PrimaryKeyConstraint("organization_id", "id", name=op.f("pk_provisioned_user")),
        info={"tenancy": "organization"},
    )
    for name, column in (
        ("uq_provisioned_user_name", sa.text("lower(user_name)")),
        ("uq_provisioned_user_principal", "principal_id"),
    ):
        op.create_index(
            name,
            "provisioned_user",
            ["organization_id", column],
            unique=True,
            postgresql_where="removed_at IS NULL",
        )
    rls.secure_organization_table("provisioned_user")
    rls.grant("provisioned_user", "SELECT")
    rls.grant("provisioned_user", "INSERT, UPDATE", "ringfence_api")


def _make_break_glass() -> None:
    op.create_table(
        "break_glass_seal",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("kind", sa.Text(), server_default="installation", nullable=False),
        sa.Column("secret_hash", sa.Text(), nullable=False),
        _moment("sealed_at"),
        *(
            sa.Column(name, sa.DateTime(timezone=True))
            for name in ("replaced_at", "opened_at", "ends_at")
        ),
        sa.Column("opened_by", sa.UUID()),
        sa.Column("reason", sa.Text()),
        sa.Column("token_id", sa.UUID()),
        sa.CheckConstraint(
            "(opened_at IS NULL) = (ends_at IS NULL)", name=op.f("ck_break_glass_seal_opened")
        ),
        sa.ForeignKeyConstraint(
            ["opened_by"], ["principal.id"], name=op.f("fk_break_glass_seal_opened_by")
        ),
        sa.ForeignKeyConstraint(
            ["token_id"], ["api_token.id"], name=op.f("fk_break_glass_seal_token_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_break_glass_seal")),
        info={"tenancy": "platform"},
    )
    op.create_index(
        "uq_break_glass_seal_unopened",
        "break_glass_seal",
        ["kind"],
        unique=True,
        postgresql_where="opened_at IS NULL AND replaced_at IS NULL",
    )
    op.create_table(
        "break_glass_attempt",
        sa.Column("id", sa.UUID(), nullable=False),
        _moment("at"),
        sa.Column("address", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_break_glass_attempt")),
        info={"tenancy": "platform"},
    )
    op.create_index("ix_break_glass_attempt_at", "break_glass_attempt", ["at"])
    for table in ("break_glass_seal", "break_glass_attempt"):
        rls.secure_platform_table(table)


def _moment(name: str) -> sa.Column[object]:
    return sa.Column(
        name, sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
    )


def _seed() -> None:
    op.execute("SELECT set_config('app.platform', 'on', true)")
    op.execute(
        "INSERT INTO role (name, description) VALUES"
        " ('provisioner', 'A service that pushes people and groups over SCIM.')"
    )


def downgrade() -> None:
    raise RuntimeError("migrations are not undone: restore the database instead")
