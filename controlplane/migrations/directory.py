"""Directory functions of the first migration: what must be known before there is a scope.

Authentication, name resolution and agents' first contact happen before a transaction can carry a
tenant scope. Each function answers one narrow question and returns ids or one identity's own data.
"""

from __future__ import annotations

from controlplane.migrations import rls

API = ("ringfence_api",)
ALL = rls.PROCESS_ROLES


def create() -> None:
    """Create the policies and functions of the directory."""
    for table in (
        "api_token",
        "platform_role",
        "organization",
        "boundary",
        "identity_provider",
        "role_assignment",
        "guest_assignment",
        "group_member",
        "enrolment_token",
        "agent",
        "cloud_connection",
        "access_grant",
    ):
        rls.directory_policy(table)
    rls.directory_policy("principal", "ALL")
    _identity()
    _principals()
    _names()
    _agents()
    _connections()


def _identity() -> None:
    rls.directory_function(
        "authenticate_token(wanted text)",
        "TABLE (principal_id uuid, issuer text, subject text, kind text, display text,"
        " person_key text, organization_id uuid)",
        """
        RETURN QUERY
        SELECT p.id, p.issuer, p.subject, p.kind, p.display, p.person_key,
               (SELECT i.organization_id FROM identity_provider i WHERE i.issuer = p.issuer
                ORDER BY i.organization_id LIMIT 1)
        FROM api_token t JOIN principal p ON p.id = t.principal_id
        WHERE t.token_hash = wanted AND t.revoked_at IS NULL AND t.expires_at > now()
          AND p.disabled_at IS NULL;
        """,
        API,
    )
    # A person of another issuer holds a role only while the organization has let the guest in.
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
               NOT EXISTS (SELECT 1 FROM identity_provider i JOIN principal p ON p.issuer = i.issuer
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


def _principals() -> None:
    rls.directory_function(
        "ensure_principal(new_id uuid, wanted_issuer text, wanted_subject text, shown text)",
        "uuid",
        """
        INSERT INTO principal (id, issuer, subject, kind, display)
        VALUES (new_id, wanted_issuer, wanted_subject, 'human', shown)
        ON CONFLICT (issuer, subject) DO NOTHING;
        RETURN (SELECT p.id FROM principal p
                WHERE p.issuer = wanted_issuer AND p.subject = wanted_subject);
        """,
        API,
    )
    rls.directory_function(
        "principals_by_id(wanted uuid[])",
        "TABLE (id uuid, issuer text, subject text, kind text, display text, person_key text)",
        """
        RETURN QUERY SELECT p.id, p.issuer, p.subject, p.kind, p.display, p.person_key
        FROM principal p WHERE p.id = ANY (wanted);
        """,
        ALL,
    )
    rls.directory_function(
        "principals_by_subject(wanted text[])",
        "TABLE (id uuid, issuer text, subject text)",
        """
        RETURN QUERY SELECT p.id, p.issuer, p.subject
        FROM principal p WHERE p.subject = ANY (wanted);
        """,
        API,
    )


def _names() -> None:
    rls.directory_function(
        "organization_id_by_name(wanted text)",
        "uuid",
        "RETURN (SELECT o.id FROM organization o WHERE o.name = wanted);",
        API,
    )
    rls.directory_function(
        "organization_boundary_ids(wanted uuid)",
        "SETOF uuid",
        "RETURN QUERY SELECT b.id FROM boundary b WHERE b.organization_id = wanted;",
        API,
    )


def _agents() -> None:
    rls.directory_function(
        "boundary_of_enrolment_token(wanted text)",
        "TABLE (organization_id uuid, boundary_id uuid)",
        """
        RETURN QUERY SELECT e.organization_id, e.boundary_id
        FROM enrolment_token e WHERE e.token_hash = wanted;
        """,
        API,
    )
    rls.directory_function(
        "boundary_of_agent(wanted uuid)",
        "TABLE (organization_id uuid, boundary_id uuid, public_key text)",
        """
        RETURN QUERY SELECT a.organization_id, a.boundary_id, a.public_key
        FROM agent a WHERE a.id = wanted AND a.revoked_at IS NULL;
        """,
        API,
    )


def _connections() -> None:
    # A probe needs an external id that is real but another connection's: it must be denied.
    rls.directory_function(
        "foreign_external_id(own_boundary uuid)",
        "text",
        """
        RETURN (SELECT c.external_id FROM cloud_connection c
                WHERE c.boundary_id <> own_boundary
                ORDER BY (c.organization_id = (SELECT b.organization_id FROM boundary b
                                               WHERE b.id = own_boundary)) DESC, c.created_at
                LIMIT 1);
        """,
        ("ringfence_worker",),
    )
    rls.directory_function(
        "open_grants()",
        "TABLE (organization_id uuid, boundary_id uuid, grant_id uuid, state text,"
        " grant_until timestamptz)",
        """
        RETURN QUERY SELECT g.organization_id, g.boundary_id, g.id, g.state, g.grant_until
        FROM access_grant g WHERE g.state IN ('approved', 'active', 'closing');
        """,
        ("ringfence_scheduler", "ringfence_worker"),
    )
