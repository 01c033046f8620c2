"""Waivers that two people approve, with an end; and a break-glass secret in two parts."""

from __future__ import annotations

from alembic import op
import sqlalchemy as sa

from controlplane.migrations import rls

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

API, WORKER = ("ringfence_api",), ("ringfence_worker",)
CARRIED_OVER_DAYS = 30
"""A guest whom one person had let in keeps the access so long: time to ask for a waiver."""


def upgrade() -> None:
    _create()
    _carry_over()
    rls.secure_organization_table("waiver")
    rls.directory_policy("waiver")
    rls.grant("waiver", "SELECT, INSERT, UPDATE", *API)
    rls.grant("waiver", "SELECT", *WORKER)
    rls.grant_reading("waiver")
    op.drop_table("guest_assignment")
    _roles()
    _report()
    _seal_in_two_parts()
    _open_with_two_parts()


def _create() -> None:
    op.create_table('waiver',
    sa.Column('organization_id', sa.UUID(), nullable=False),
    sa.Column('id', sa.UUID(), nullable=False),
    sa.Column('kind', sa.Text(), nullable=False),
    sa.Column('principal_id', sa.UUID(), nullable=False),
    sa.Column('boundary_id', sa.UUID(), nullable=True),
    sa.Column('reason', sa.Text(), nullable=False),
    sa.Column('ticket', sa.Text(), nullable=True),
    sa.Column('starts_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('ends_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('digest', sa.Text(), nullable=False),
    sa.Column('state', sa.Text(), server_default='requested', nullable=False),
    sa.Column('requested_by', sa.UUID(), nullable=True),
    sa.Column('requested_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('first_approver', sa.UUID(), nullable=True),
    sa.Column('first_approved_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('first_reason', sa.Text(), nullable=True),
    sa.Column('second_approver', sa.UUID(), nullable=True),
    sa.Column('second_approved_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('second_reason', sa.Text(), nullable=True),
    sa.Column('ended_by', sa.UUID(), nullable=True),
    sa.Column('ended_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('end_reason', sa.Text(), nullable=True),
    sa.Column('carried_over', sa.Boolean(), server_default='false', nullable=False),
    sa.CheckConstraint("kind IN ('guest')", name=op.f('ck_waiver_kind')),
    sa.CheckConstraint("state IN ('requested', 'approved', 'denied', 'revoked')", name=op.f('ck_waiver_state')),
    sa.CheckConstraint("ends_at > starts_at AND ends_at - starts_at <= interval '90 days'", name=op.f('ck_waiver_window')),
    sa.CheckConstraint("(first_approver IS NULL) = (first_approved_at IS NULL)", name=op.f('ck_waiver_first')),
    sa.CheckConstraint("(second_approver IS NULL) = (second_approved_at IS NULL)", name=op.f('ck_waiver_second')),
    sa.CheckConstraint("second_approver IS NULL OR first_approver IS NOT NULL", name=op.f('ck_waiver_in_order')),
    sa.CheckConstraint(
        "carried_over OR (first_approver IS DISTINCT FROM principal_id"
        " AND second_approver IS DISTINCT FROM principal_id"
        " AND (first_approver <> requested_by) IS NOT FALSE"
        " AND (second_approver <> requested_by) IS NOT FALSE"
        " AND (second_approver <> first_approver) IS NOT FALSE)", name=op.f('ck_waiver_four_eyes')),
    sa.CheckConstraint("state <> 'approved' OR second_approver IS NOT NULL OR carried_over", name=op.f('ck_waiver_approved_by_two')),
    sa.CheckConstraint(
        "(state IN ('denied', 'revoked')) = (ended_at IS NOT NULL)"
        " AND (ended_at IS NULL) = (ended_by IS NULL)", name=op.f('ck_waiver_ended')),
    sa.ForeignKeyConstraint(['organization_id', 'boundary_id'], ['boundary.organization_id', 'boundary.id'], name=op.f('fk_waiver_organization_id_boundary_id')),
    sa.ForeignKeyConstraint(['organization_id'], ['organization.id'], name=op.f('fk_waiver_organization_id')),
    sa.ForeignKeyConstraint(['principal_id'], ['principal.id'], name=op.f('fk_waiver_principal_id')),
    sa.PrimaryKeyConstraint('organization_id', 'id', name=op.f('pk_waiver')),
    info={'tenancy': 'organization'}
    )
    op.create_index(op.f('ix_waiver_organization_id_principal_id'), 'waiver', ['organization_id', 'principal_id'], unique=False)


def _carry_over() -> None:
    """Make a waiver of each guest: one who was let in gets an end, one who waits goes on waiting.

    Keys that such a guest holds end with the waiver; boundaries learn it with their next bundle.
    """
    op.execute("SELECT set_config('app.directory', 'on', true)")
    op.execute(
        f"""
        INSERT INTO waiver (organization_id, id, kind, principal_id, reason, starts_at, ends_at,
          digest, state, requested_by, requested_at, first_approver, first_approved_at, carried_over)
        SELECT g.organization_id, g.id, 'guest', g.principal_id,
          'Guest of before there were waivers', now(),
          now() + interval '{CARRIED_OVER_DAYS} days',
          'sha256:' || encode(sha256(convert_to(g.organization_id || '/' || g.id, 'UTF8')), 'hex'),
          CASE WHEN g.approved_at IS NULL THEN 'requested' ELSE 'approved' END,
          g.requested_by, g.requested_at, g.approved_by, g.approved_at, g.approved_at IS NOT NULL
        FROM guest_assignment g
        """  # noqa: S608 - a number of this file
    )
    op.execute(
        """
        DO $keys$ DECLARE found record; BEGIN
          FOR found IN SELECT organization_id, id FROM boundary LOOP
            PERFORM set_config('app.organization', found.organization_id::text, true);
            PERFORM set_config('app.boundaries', '{' || found.id || '}', true);
            UPDATE gateway_key k SET expires_at = w.ends_at FROM waiver w
            WHERE w.organization_id = k.organization_id AND w.principal_id = k.owner_id
              AND w.state = 'approved' AND k.expires_at > w.ends_at;
          END LOOP;
        END $keys$
        """
    )
    for setting in ("directory", "organization", "boundaries"):
        op.execute(f"SELECT set_config('app.{setting}', '', true)")


def _roles() -> None:
    # A person of another issuer holds a role only while a waiver is in force, and only where; a
    # waiver for one boundary narrows a role that is held for the whole organization to it. A
    # service identity is the organization's own.
    op.execute("DROP FUNCTION principal_roles(uuid)")
    rls.directory_function(
        "principal_roles(who uuid)",
        "TABLE (organization_id uuid, organization_name text, boundary_id uuid, role text,"
        " pending_guest boolean, waiver_id uuid, waiver_ends_at timestamptz)",
        """
        RETURN QUERY
        SELECT NULL::uuid, NULL::text, NULL::uuid, r.role, false, NULL::uuid, NULL::timestamptz
        FROM platform_role r
        WHERE r.principal_id = who AND r.valid_from <= now()
          AND (r.valid_until IS NULL OR r.valid_until > now())
        UNION ALL
        SELECT h.organization_id, h.organization_name, COALESCE(h.boundary_id, v.boundary_id),
               h.role, NOT h.is_own AND v.id IS NULL, v.id, v.ends_at
        FROM (
          SELECT a.organization_id, o.name AS organization_name, a.boundary_id, a.role,
                 EXISTS (SELECT 1 FROM principal p
                         WHERE p.id = who AND p.organization_id = a.organization_id)
                 OR EXISTS (SELECT 1 FROM identity_provider i
                            JOIN principal p ON p.issuer = i.issuer
                            WHERE p.id = who AND i.organization_id = a.organization_id) AS is_own
          FROM role_assignment a JOIN organization o ON o.id = a.organization_id
          WHERE a.superseded_at IS NULL AND a.valid_from <= now()
            AND (a.valid_until IS NULL OR a.valid_until > now())
            AND (a.principal_id = who OR EXISTS (
                   SELECT 1 FROM group_member m
                   WHERE m.organization_id = a.organization_id AND m.group_id = a.group_id
                     AND m.principal_id = who AND m.valid_from <= now()
                     AND (m.valid_until IS NULL OR m.valid_until > now())))
        ) h LEFT JOIN LATERAL (
          SELECT DISTINCT ON (COALESCE(h.boundary_id, w.boundary_id)) w.id, w.boundary_id, w.ends_at
          FROM waiver w
          WHERE NOT h.is_own AND w.kind = 'guest' AND w.state = 'approved'
            AND w.organization_id = h.organization_id AND w.principal_id = who
            AND w.starts_at <= now() AND w.ends_at > now()
            AND (w.boundary_id IS NULL OR h.boundary_id IS NULL OR w.boundary_id = h.boundary_id)
          ORDER BY COALESCE(h.boundary_id, w.boundary_id), w.ends_at DESC
        ) v ON true;
        """,
        API,
    )


def _report() -> None:
    op.execute("DROP FUNCTION report_principals(uuid)")
    rls.directory_function(
        "report_principals(wanted uuid)",
        "TABLE (id uuid, issuer text, subject text, kind text, display text,"
        " created_at timestamptz, disabled_at timestamptz, is_own boolean, is_vendor boolean)",
        """
        RETURN QUERY
        WITH own AS (SELECT i.issuer FROM identity_provider i WHERE i.organization_id = wanted),
        linked AS (
          SELECT m.principal_id FROM group_member m WHERE m.organization_id = wanted
          UNION SELECT a.principal_id FROM role_assignment a WHERE a.organization_id = wanted
          UNION SELECT a.granted_by FROM role_assignment a WHERE a.organization_id = wanted
          UNION SELECT unnest(ARRAY[w.principal_id, w.requested_by, w.first_approver,
                                    w.second_approver, w.ended_by])
                FROM waiver w WHERE w.organization_id = wanted
          UNION SELECT g.requested_by FROM access_grant g WHERE g.organization_id = wanted
          UNION SELECT g.decided_by FROM access_grant g WHERE g.organization_id = wanted
        ),
        vendor AS (SELECT DISTINCT r.principal_id FROM platform_role r)
        SELECT p.id, p.issuer, p.subject, p.kind, p.display, p.created_at, p.disabled_at,
               EXISTS (SELECT 1 FROM own WHERE own.issuer = p.issuer),
               EXISTS (SELECT 1 FROM vendor v WHERE v.principal_id = p.id)
        FROM principal p
        WHERE p.issuer IN (SELECT own.issuer FROM own)
           OR p.id IN (SELECT l.principal_id FROM linked l)
           OR p.id IN (SELECT v.principal_id FROM vendor v);
        """,
        WORKER,
    )


def _seal_in_two_parts() -> None:
    """Name two custodians per seal. An unused secret of one part ends: seal a new one."""
    for name in ("first_custodian", "second_custodian"):
        op.add_column("break_glass_seal", sa.Column(name, sa.UUID(), nullable=True))
    op.execute("SELECT set_config('app.platform', 'on', true)")
    op.execute("UPDATE break_glass_seal SET second_custodian = opened_by")
    op.execute(
        "UPDATE break_glass_seal SET replaced_at = now()"
        " WHERE opened_at IS NULL AND replaced_at IS NULL"
    )
    op.drop_column("break_glass_seal", "opened_by")
    for name in ("first_custodian", "second_custodian"):
        op.create_foreign_key(
            op.f(f"fk_break_glass_seal_{name}"), "break_glass_seal", "principal", [name], ["id"]
        )
    op.create_check_constraint(
        op.f("ck_break_glass_seal_two_people"),
        "break_glass_seal",
        "first_custodian <> second_custodian",
    )
    op.create_check_constraint(
        op.f("ck_break_glass_seal_custodians"),
        "break_glass_seal",
        "opened_at IS NOT NULL OR replaced_at IS NOT NULL"
        " OR (first_custodian IS NOT NULL AND second_custodian IS NOT NULL)",
    )
    # Only now: a new key is checked against the rows, under their rules.
    op.execute("SELECT set_config('app.platform', '', true)")


def _open_with_two_parts() -> None:
    op.execute("DROP FUNCTION break_glass_state()")
    op.execute(
        "DROP FUNCTION open_break_glass(text, uuid, text, uuid, text, text, timestamptz, uuid)"
    )
    rls.directory_function(
        "break_glass_state()",
        "TABLE (sealed boolean, opened_at timestamptz, ends_at timestamptz, opened_by uuid[],"
        " reason text, token_id uuid)",
        """
        RETURN QUERY
        SELECT EXISTS (SELECT 1 FROM break_glass_seal n
                       WHERE n.opened_at IS NULL AND n.replaced_at IS NULL),
               s.opened_at, s.ends_at,
               array_remove(ARRAY[s.first_custodian, s.second_custodian], NULL),
               s.reason, s.token_id
        FROM (SELECT 1) one LEFT JOIN LATERAL (
          SELECT b.* FROM break_glass_seal b JOIN api_token t ON t.id = b.token_id
          WHERE b.ends_at > now() AND t.revoked_at IS NULL ORDER BY b.opened_at DESC LIMIT 1
        ) s ON true;
        """,
        API,
    )
    # One statement decides: of two openings at once, one finds no sealed secret. A custodian who
    # was disabled opens nothing; who asks learns no more than of a wrong part.
    rls.directory_function(
        "open_break_glass(hashed text, why text, token uuid, token_hashed text,"
        " shown_prefix text, ends timestamptz, admin uuid)",
        "uuid[]",
        """
        DECLARE custodians uuid[];
        BEGIN
          UPDATE break_glass_seal s SET opened_at = now(), reason = why, ends_at = ends
          WHERE s.secret_hash = hashed AND s.opened_at IS NULL AND s.replaced_at IS NULL
            AND NOT EXISTS (SELECT 1 FROM principal p WHERE p.disabled_at IS NOT NULL
                            AND p.id IN (s.first_custodian, s.second_custodian))
          RETURNING ARRAY[s.first_custodian, s.second_custodian] INTO custodians;
          IF custodians IS NULL THEN RETURN NULL; END IF;
          INSERT INTO principal (id, issuer, subject, kind, display)
          VALUES (admin, 'ringfence', 'break-glass', 'break-glass', 'Break-glass administrator')
          ON CONFLICT (issuer, subject) DO NOTHING;
          INSERT INTO platform_role (id, principal_id, role, valid_from, valid_until)
          SELECT token, p.id, 'platform-admin', now(), ends FROM principal p
          WHERE p.issuer = 'ringfence' AND p.subject = 'break-glass';
          INSERT INTO api_token (id, principal_id, name, prefix, token_hash, expires_at)
          SELECT token, p.id, 'break glass', shown_prefix, token_hashed, ends
          FROM principal p WHERE p.issuer = 'ringfence' AND p.subject = 'break-glass';
          UPDATE break_glass_seal s SET token_id = token WHERE s.secret_hash = hashed;
          RETURN custodians;
        END;
        """,
        API,
    )


def downgrade() -> None:
    raise RuntimeError("migrations are not undone: restore the database instead")
