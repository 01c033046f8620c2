"""Directory functions of migration 0004: scoped tokens, service identities, people, break glass.

Written like `directory.py`: each answers one narrow question before, or outside, a tenant scope.
Principals and tokens are closed to the API, so what it may do with them is exactly this list. A
function that changes a person checks itself that the organization named owns the person's issuer.
"""

from __future__ import annotations

from alembic import op

from controlplane.migrations import rls

API = ("ringfence_api",)
# Without the sub-select of `rls.PLATFORM_RULE`: a row checked again after a lock must not ask for
# the setting, which CASE keeps from being read only while it stands in the expression itself.
PLATFORM = "app_platform()"


def create() -> None:
    """Create the functions, and open the tables they write."""
    for table in ("api_token", "principal", "platform_role", "session"):
        rls.directory_policy(table, "ALL", rule=PLATFORM)
    for table in ("break_glass_seal", "break_glass_attempt"):
        rls.directory_policy(table, "ALL", rule=PLATFORM)
    for signature in (
        "authenticate_token(text)",
        "principal_roles(uuid)",
    ):
        op.execute(f"DROP FUNCTION {signature}")
    _authentication()
    _roles()
    _tokens()
    _revocation()
    _people()
    _changes_of_people()
    _names()
    _break_glass()
    _opening()


def _authentication() -> None:
    # The time of use is written without waiting: a token in use elsewhere is skipped this once.
    rls.directory_function(
        "authenticate_token(wanted text)",
        "TABLE (principal_id uuid, issuer text, subject text, kind text, display text,"
        " person_key text, organization_id uuid, token_id uuid, only_organization_id uuid,"
        " only_boundary_id uuid, only_roles jsonb)",
        """
        UPDATE api_token SET last_used_at = clock_timestamp() WHERE id = (
          SELECT t.id FROM api_token t
          WHERE t.token_hash = wanted
            AND (t.last_used_at IS NULL OR t.last_used_at < clock_timestamp() - interval '1 minute')
          FOR UPDATE SKIP LOCKED);
        RETURN QUERY
        SELECT p.id, p.issuer, p.subject, p.kind, p.display, p.person_key,
               COALESCE(p.organization_id,
                 (SELECT i.organization_id FROM identity_provider i WHERE i.issuer = p.issuer
                  ORDER BY i.organization_id LIMIT 1)),
               t.id, t.organization_id, t.boundary_id, t.roles
        FROM api_token t JOIN principal p ON p.id = t.principal_id
        WHERE t.token_hash = wanted AND t.revoked_at IS NULL AND t.expires_at > now()
          AND p.disabled_at IS NULL;
        """,
        API,
    )


def _roles() -> None:
    # A person of another issuer holds a role only while the organization has let the guest in; a
    # service identity is the organization's own.
    rls.directory_function(
        "principal_roles(who uuid)",
        "TABLE (organization_id uuid, organization_name text, boundary_id uuid, role text,"
        " pending_guest boolean)",
        """
        RETURN QUERY
        SELECT NULL::uuid, NULL::text, NULL::uuid, r.role, false
        FROM platform_role r
        WHERE r.principal_id = who AND r.valid_from <= now()
          AND (r.valid_until IS NULL OR r.valid_until > now())
        UNION ALL
        SELECT a.organization_id, o.name, a.boundary_id, a.role,
               NOT EXISTS (SELECT 1 FROM principal p
                           WHERE p.id = who AND p.organization_id = a.organization_id)
               AND NOT EXISTS (SELECT 1 FROM identity_provider i
                               JOIN principal p ON p.issuer = i.issuer
                               WHERE p.id = who AND i.organization_id = a.organization_id)
               AND NOT EXISTS (SELECT 1 FROM guest_assignment g
                               WHERE g.organization_id = a.organization_id
                                 AND g.principal_id = who AND g.approved_at IS NOT NULL)
        FROM role_assignment a JOIN organization o ON o.id = a.organization_id
        WHERE a.superseded_at IS NULL AND a.valid_from <= now()
          AND (a.valid_until IS NULL OR a.valid_until > now())
          AND (a.principal_id = who OR EXISTS (
                 SELECT 1 FROM group_member m
                 WHERE m.organization_id = a.organization_id AND m.group_id = a.group_id
                   AND m.principal_id = who AND m.valid_from <= now()
                   AND (m.valid_until IS NULL OR m.valid_until > now())));
        """,
        API,
    )


def _tokens() -> None:
    # Returns when it was made; nothing is made for a principal that is disabled.
    rls.directory_function(
        "create_api_token(new_id uuid, holder uuid, creator uuid, shown_name text,"
        " shown_prefix text, hashed text, ends timestamptz, only_organization uuid,"
        " only_boundary uuid, only_roles jsonb)",
        "timestamptz",
        """
        IF NOT EXISTS (SELECT 1 FROM principal p WHERE p.id = holder AND p.disabled_at IS NULL)
        THEN RETURN NULL; END IF;
        INSERT INTO api_token (id, principal_id, created_by, name, prefix, token_hash, expires_at,
                               organization_id, boundary_id, roles)
        VALUES (new_id, holder, creator, shown_name, shown_prefix, hashed,
                LEAST(ends, now() + interval '90 days'), only_organization, only_boundary,
                only_roles);
        RETURN now();
        """,
        API,
    )
    # By holder, by id or by organization: of its own people and services, and of anyone who made a
    # token for this organization only. Nothing asked finds nothing.
    rls.directory_function(
        "api_tokens(holder uuid, wanted uuid, organization uuid)",
        "TABLE (id uuid, principal_id uuid, name text, prefix text, created_by uuid,"
        " created_at timestamptz, expires_at timestamptz, revoked_at timestamptz,"
        " last_used_at timestamptz, organization_id uuid, organization_name text,"
        " boundary_id uuid, boundary_name text, roles jsonb, home_organization_id uuid)",
        """
        RETURN QUERY
        SELECT t.id, t.principal_id, t.name, t.prefix, t.created_by, t.created_at, t.expires_at,
               t.revoked_at, t.last_used_at, t.organization_id, o.name, t.boundary_id, b.name,
               t.roles, COALESCE(p.organization_id, i.organization_id)
        FROM api_token t JOIN principal p ON p.id = t.principal_id
        LEFT JOIN organization o ON o.id = t.organization_id
        LEFT JOIN boundary b ON b.id = t.boundary_id
        LEFT JOIN identity_provider i ON i.issuer = p.issuer
        WHERE t.principal_id = holder OR t.id = wanted OR organization = COALESCE(
          t.organization_id, p.organization_id, i.organization_id)
        ORDER BY t.created_at, t.id;
        """,
        API,
    )


def _revocation() -> None:
    rls.directory_function(
        "revoke_api_tokens(wanted uuid[], revoker uuid)",
        "SETOF uuid",
        """
        RETURN QUERY UPDATE api_token t SET revoked_at = now(), revoked_by = revoker
        WHERE t.id = ANY (wanted) AND t.revoked_at IS NULL RETURNING t.id;
        """,
        API,
    )


def _people() -> None:
    rls.directory_function(
        "principals_of_organization(wanted uuid)",
        "SETOF uuid",
        """
        RETURN QUERY SELECT p.id FROM principal p
        WHERE p.organization_id = wanted OR p.issuer IN (
          SELECT i.issuer FROM identity_provider i WHERE i.organization_id = wanted);
        """,
        API,
    )
    rls.directory_function(
        "principal_states(wanted uuid[])",
        "TABLE (id uuid, created_at timestamptz, disabled_at timestamptz,"
        " last_used_at timestamptz, last_sign_in_at timestamptz)",
        """
        RETURN QUERY SELECT p.id, p.created_at, p.disabled_at,
          (SELECT max(t.last_used_at) FROM api_token t WHERE t.principal_id = p.id),
          (SELECT max(s.created_at) FROM session s WHERE s.principal_id = p.id)
        FROM principal p WHERE p.id = ANY (wanted);
        """,
        API,
    )


def _changes_of_people() -> None:
    rls.directory_function(
        "create_service_principal(new_id uuid, organization uuid, wanted_issuer text,"
        " wanted_subject text, shown text)",
        "void",
        """
        INSERT INTO principal (id, issuer, subject, kind, display, organization_id)
        VALUES (new_id, wanted_issuer, wanted_subject, 'service', shown, organization);
        """,
        API,
    )
    # Returns whether anything changed; nothing does for a person of somebody else's issuer.
    rls.directory_function(
        "set_principal_enabled(organization uuid, who uuid, enabled boolean)",
        "boolean",
        """
        UPDATE principal p SET disabled_at = CASE WHEN enabled THEN NULL ELSE now() END
        WHERE p.id = who AND (p.disabled_at IS NULL) <> enabled
          AND (p.organization_id = organization OR p.issuer IN (
                 SELECT i.issuer FROM identity_provider i
                 WHERE i.organization_id = organization));
        IF NOT FOUND THEN RETURN false; END IF;
        IF NOT enabled THEN
          UPDATE session s SET ended_at = now(), end_reason = 'principal-disabled'
          WHERE s.principal_id = who AND s.ended_at IS NULL;
        END IF;
        RETURN true;
        """,
        API,
    )
    rls.directory_function(
        "describe_principal(organization uuid, who uuid, shown text, key text)",
        "void",
        """
        UPDATE principal p SET display = shown, person_key = COALESCE(key, p.person_key)
        WHERE p.id = who AND p.issuer IN (
          SELECT i.issuer FROM identity_provider i WHERE i.organization_id = organization);
        """,
        API,
    )


def _names() -> None:
    rls.directory_function(
        "boundary_id_by_name(organization uuid, wanted text)",
        "uuid",
        "RETURN (SELECT b.id FROM boundary b"
        " WHERE b.organization_id = organization AND b.name = wanted);",
        API,
    )
    rls.directory_function(
        "all_organization_ids()",
        "SETOF uuid",
        "RETURN QUERY SELECT o.id FROM organization o ORDER BY o.id;",
        API,
    )


def _break_glass() -> None:
    rls.directory_function(
        "break_glass_failures(wanted_address text, since timestamptz)",
        "TABLE (from_address bigint, in_all bigint)",
        """
        RETURN QUERY SELECT count(*) FILTER (WHERE a.address = wanted_address), count(*)
        FROM break_glass_attempt a WHERE a.at > since;
        """,
        API,
    )
    rls.directory_function(
        "record_break_glass_failure(new_id uuid, from_address text)",
        "void",
        """
        DELETE FROM break_glass_attempt WHERE at < now() - interval '30 days';
        INSERT INTO break_glass_attempt (id, address) VALUES (new_id, from_address);
        """,
        API,
    )
    rls.directory_function(
        "break_glass_state()",
        "TABLE (sealed boolean, opened_at timestamptz, ends_at timestamptz, opened_by uuid,"
        " reason text)",
        """
        RETURN QUERY
        SELECT EXISTS (SELECT 1 FROM break_glass_seal n
                       WHERE n.opened_at IS NULL AND n.replaced_at IS NULL),
               s.opened_at, s.ends_at, s.opened_by, s.reason
        FROM (SELECT 1) one LEFT JOIN LATERAL (
          SELECT * FROM break_glass_seal b JOIN api_token t ON t.id = b.token_id
          WHERE b.ends_at > now() AND t.revoked_at IS NULL ORDER BY b.opened_at DESC LIMIT 1
        ) s ON true;
        """,
        API,
    )


def _opening() -> None:
    # One statement decides: of two openings at once, one finds no sealed secret.
    rls.directory_function(
        "open_break_glass(hashed text, second_person uuid, why text, token uuid,"
        " token_hashed text, shown_prefix text, ends timestamptz, admin uuid)",
        "boolean",
        """
        UPDATE break_glass_seal s
        SET opened_at = now(), opened_by = second_person, reason = why, ends_at = ends
        WHERE s.secret_hash = hashed AND s.opened_at IS NULL AND s.replaced_at IS NULL;
        IF NOT FOUND THEN RETURN false; END IF;
        INSERT INTO principal (id, issuer, subject, kind, display)
        VALUES (admin, 'ringfence', 'break-glass', 'break-glass', 'Break-glass administrator')
        ON CONFLICT (issuer, subject) DO NOTHING;
        INSERT INTO platform_role (id, principal_id, role, valid_from, valid_until)
        SELECT token, p.id, 'platform-admin', now(), ends FROM principal p
        WHERE p.issuer = 'ringfence' AND p.subject = 'break-glass';
        INSERT INTO api_token (id, principal_id, created_by, name, prefix, token_hash, expires_at)
        SELECT token, p.id, second_person, 'break glass', shown_prefix, token_hashed, ends
        FROM principal p WHERE p.issuer = 'ringfence' AND p.subject = 'break-glass';
        UPDATE break_glass_seal s SET token_id = token WHERE s.secret_hash = hashed;
        RETURN true;
        """,
        API,
    )
