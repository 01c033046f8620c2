"""Installs that live in another boundary's cluster, and who may learn of whom."""

from __future__ import annotations

from alembic import op
import sqlalchemy as sa

from controlplane.migrations import rls

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('install', sa.Column('host_boundary_id', sa.UUID(), nullable=True))
    # The check of the new key must see every tenant's rows; the walls are back before the commit.
    for table in ("install", "boundary"):
        op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
    op.create_foreign_key(op.f('fk_install_organization_id_host_boundary_id'), 'install', 'boundary', ['organization_id', 'host_boundary_id'], ['organization_id', 'id'])
    op.create_check_constraint(op.f('ck_install_no_host_of_itself'), 'install', 'host_boundary_id <> boundary_id')
    for table in ("install", "boundary"):
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.create_index('ix_install_host', 'install', ['host_boundary_id'], unique=False,
                    postgresql_where=sa.text('host_boundary_id IS NOT NULL'))
    rls.directory_policy("install", rule=rls.BOUNDARY_RULE)
    _functions()


def _functions() -> None:
    """Who asks must be in the scope; who is asked about is of the same organization.

    Both take one lock per host, so that a guest is not let in while its host is being removed.
    """
    locked = "PERFORM pg_advisory_xact_lock(hashtextextended('host:' || {}::text, 0));"
    # What a guest learns of its host: where it is, whether it lets this one in, and its addresses.
    rls.directory_function(
        "host_of_guest(p_guest uuid, p_host text)",
        "TABLE(boundary_id uuid, install_id uuid, lifecycle text, is_leaving boolean,"
        " applied jsonb, account text, region text)",
        "IF NOT p_guest = ANY (app_boundaries()) THEN"
        "  RAISE EXCEPTION 'the guest is not in the scope' USING ERRCODE = '42501'; END IF;"
        + locked.format("(SELECT b.id FROM boundary b WHERE b.organization_id = app_organization()"
                        " AND b.name = p_host)")
        + " RETURN QUERY SELECT b.id, i.id, i.lifecycle,"
        " EXISTS (SELECT 1 FROM run r WHERE r.boundary_id = b.id AND r.install_id = i.id"
        "   AND r.kind = 'install.deprovision' AND r.finished_at IS NULL),"
        " (SELECT jsonb_build_object('cidr', r.params->'inputs'->'cidr',"
        "    'guests', coalesce(r.params->'inputs'->'guests', '[]'::jsonb),"
        "    'cluster', coalesce(r.params->'inputs'->'cluster', '\"new\"'::jsonb))"
        "   FROM run r WHERE r.boundary_id = b.id AND r.install_id = i.id AND r.params ? 'inputs'"
        "   AND ((r.kind IN ('install.provision', 'install.update') AND r.state = 'succeeded')"
        "     OR (r.kind = 'install.provision' AND r.outcome = 'kept'))"
        "   ORDER BY r.created_at DESC LIMIT 1),"
        " b.target->>'account', b.target->>'region'"
        " FROM boundary b LEFT JOIN install i ON i.boundary_id = b.id"
        " WHERE b.organization_id = app_organization() AND b.name = p_host"
        " ORDER BY i.created_at DESC LIMIT 1;",
        ("ringfence_api", "ringfence_worker"),
    )
    # What a host learns of its guests: their names.
    rls.directory_function(
        "guests_of_host(p_host uuid)",
        "TABLE(name text)",
        "IF NOT p_host = ANY (app_boundaries()) THEN"
        "  RAISE EXCEPTION 'the host is not in the scope' USING ERRCODE = '42501'; END IF;"
        + locked.format("p_host")
        + " RETURN QUERY SELECT b.name FROM install i JOIN boundary b ON b.id = i.boundary_id"
        " WHERE i.organization_id = app_organization() AND i.host_boundary_id = p_host"
        " AND i.lifecycle NOT IN ('removed', 'failed') ORDER BY b.name;",
        ("ringfence_api", "ringfence_worker"),
    )


def downgrade() -> None:
    raise RuntimeError("migrations are not undone: restore the database instead")
