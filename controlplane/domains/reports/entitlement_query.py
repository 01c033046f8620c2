"""The query of R1: who can do what at a moment T, as known at a moment K.

Used by `entitlements.py` beside it, which streams it. Separate because the text itself is evidence:
a report carries it and its digest. Every column is text, so that a row has one form in JSON, in CSV
and under its hash. Row-level security decides which boundaries are seen; `boundary` narrows further
and is null for the whole organization.
"""

from __future__ import annotations

from typing import Final

TEMPLATE: Final = "R1 entitlement snapshot, version 2"

QUERY: Final = """
WITH people AS MATERIALIZED (
  SELECT * FROM report_principals(CAST(:organization AS uuid))
),
guests AS (
  -- Waivers of guests that had neither ended nor been ended; who approved, as far as known at T.
  SELECT id, principal_id, boundary_id, requested_by, ticket, reason, starts_at, ends_at, ended_at,
    CASE WHEN first_approved_at <= :at THEN first_approver END AS first_approver,
    CASE WHEN second_approved_at <= :at THEN second_approver END AS second_approver,
    GREATEST(starts_at, first_approved_at, second_approved_at) AS began_at,
    starts_at <= :at AND CASE WHEN carried_over THEN first_approved_at ELSE second_approved_at END
      <= :at AS is_in_force
  FROM waiver
  WHERE kind = 'guest' AND requested_at <= :at AND ends_at > :at
    AND (ended_at IS NULL OR ended_at > :at)
),
members AS (
  -- One membership, whichever of file, claim and SCIM say so; it lasts as long as any of them.
  SELECT group_id, principal_id, min(valid_from) AS valid_from,
    CASE WHEN bool_or(valid_until IS NULL) THEN NULL ELSE max(valid_until) END AS valid_until
  FROM group_member
  WHERE valid_from <= :at AND (valid_until IS NULL OR valid_until > :at)
  GROUP BY group_id, principal_id
),
roles AS (
  SELECT * FROM role_assignment
  WHERE valid_from <= :at AND (valid_until IS NULL OR valid_until > :at)
    AND recorded_at <= :known AND (superseded_at IS NULL OR superseded_at > :known)
    AND (CAST(:boundary AS uuid) IS NULL OR boundary_id IS NULL OR boundary_id = :boundary)
),
models AS (
  SELECT * FROM entitlement
  WHERE valid_from <= :at AND (valid_until IS NULL OR valid_until > :at)
    AND recorded_at <= :known AND (superseded_at IS NULL OR superseded_at > :known)
    AND (CAST(:boundary AS uuid) IS NULL OR boundary_id = :boundary)
),
acts AS (
  SELECT CAST(actor->>'principal_id' AS uuid) AS principal_id, max(at) AS at FROM audit_event
  WHERE chain_id = ANY (CAST(:chains AS uuid[])) AND at <= :at
    AND actor->>'principal_id' IS NOT NULL
  GROUP BY 1
),
sign_ins AS (
  SELECT DISTINCT ON (1) CAST(actor->>'principal_id' AS uuid) AS principal_id,
    detail->'methods' AS methods, detail->>'context' AS context
  FROM audit_event
  WHERE chain_id = :organization AND code = 'sign-in.succeeded' AND at <= :at
  ORDER BY 1, seq DESC
),
held AS (
  SELECT CASE WHEN a.group_id IS NULL THEN 'role' ELSE 'group role' END AS source,
    COALESCE(a.principal_id, m.principal_id) AS principal_id, a.group_id, a.role,
    a.boundary_id, NULL::text AS model, a.id AS given_id, a.granted_by,
    NULL::uuid AS approved_by, '' AS ticket, a.reason,
    GREATEST(a.valid_from, m.valid_from) AS valid_from,
    LEAST(a.valid_until, m.valid_until) AS valid_until,
    NULL::text AS principal_name, 'yes' AS in_force, NULL::text AS policy_version
  FROM roles a LEFT JOIN members m ON m.group_id = a.group_id
  UNION ALL
  SELECT 'platform role', r.principal_id, NULL, r.role, NULL, NULL, r.id, NULL, NULL, '', '',
    r.valid_from, r.valid_until, NULL, 'yes', NULL
  FROM report_platform_roles() r
  WHERE r.valid_from <= :at AND (r.valid_until IS NULL OR r.valid_until > :at)
  UNION ALL
  SELECT 'entitlement', m.principal_id, e.group_id, 'model-user', e.boundary_id,
    v.name || ':' || v.version, e.id, e.granted_by, NULL, '', e.reason,
    GREATEST(e.valid_from, m.valid_from), LEAST(e.valid_until, m.valid_until), NULL, 'yes', ''
  FROM models e
    JOIN model_version v ON v.boundary_id = e.boundary_id AND v.id = e.model_version_id
    LEFT JOIN members m ON m.group_id = e.group_id
  UNION ALL
  SELECT 'gateway key', k.owner_id, k.group_id, 'model-user', k.boundary_id, NULL, k.id, NULL,
    NULL, '', '', k.created_at, LEAST(k.expires_at, k.revoked_at), NULL,
    CASE WHEN EXISTS (SELECT 1 FROM members m
                      WHERE m.group_id = k.group_id AND m.principal_id = k.owner_id)
         THEN 'yes' ELSE 'yes: the key works although its owner left the group' END, ''
  FROM gateway_key k
  WHERE k.created_at <= :at AND LEAST(k.expires_at, k.revoked_at) > :at
    AND (CAST(:boundary AS uuid) IS NULL OR k.boundary_id = :boundary)
  UNION ALL
  SELECT 'guest', w.principal_id, NULL, 'guest', w.boundary_id, NULL, w.id, w.requested_by,
    w.first_approver, COALESCE(w.ticket, ''), w.reason, w.began_at,
    LEAST(w.ends_at, w.ended_at), NULL,
    CASE WHEN w.is_in_force THEN 'yes' ELSE 'no: a waiver that is not in force' END, ''
  FROM guests w
  WHERE CAST(:boundary AS uuid) IS NULL OR w.boundary_id = :boundary
    OR w.boundary_id IS NULL AND EXISTS (
      SELECT 1 FROM roles a LEFT JOIN members m ON m.group_id = a.group_id
      WHERE w.principal_id IN (a.principal_id, m.principal_id))
  UNION ALL
  SELECT 'vendor grant', NULL, NULL, c.role_base_name || '-g' || g.number, g.boundary_id, NULL,
    g.id, g.requested_by, g.decided_by, COALESCE(g.ticket, ''), g.purpose || CASE
      WHEN g.reason = '' THEN '' ELSE ': ' || g.reason END,
    COALESCE(g.activated_at, g.decided_at), LEAST(g.grant_until, g.ended_at), :vendor,
    CASE WHEN g.activated_at <= :at THEN 'yes'
         ELSE 'no: approved by us, not seen open by the customer' END, g.policy_digest
  FROM access_grant g
    JOIN cloud_connection c ON c.boundary_id = g.boundary_id AND c.id = g.connection_id
  WHERE g.decided_at <= :at AND g.state <> 'denied'
    AND (g.ended_at IS NULL OR g.ended_at > :at) AND g.grant_until > :at
    AND (CAST(:boundary AS uuid) IS NULL OR g.boundary_id = :boundary)
  UNION ALL
  SELECT 'agent', NULL, NULL, 'agent', a.boundary_id, NULL, a.id, NULL, NULL, '',
    'enrolled with its own key', a.enrolled_at, a.revoked_at, 'agent ' || a.fingerprint, 'yes', ''
  FROM agent a
  WHERE a.enrolled_at <= :at AND (a.revoked_at IS NULL OR a.revoked_at > :at)
    AND (CAST(:boundary AS uuid) IS NULL OR a.boundary_id = :boundary)
),
holders AS (SELECT DISTINCT principal_id FROM held),
tokens AS (
  SELECT *, LEAST(expires_at, revoked_at) AS valid_until
  FROM report_tokens(CAST(:organization AS uuid))
  WHERE created_at <= :at AND LEAST(expires_at, revoked_at) > :at
    AND (CAST(:boundary AS uuid) IS NULL OR boundary_id IS NULL OR boundary_id = :boundary)
),
usable AS (
  -- A token gives nothing: of its holder's roles, those that it lets through.
  SELECT t.id, string_agg(DISTINCT h.role, ', ' ORDER BY h.role) AS roles
  FROM tokens t JOIN held h ON h.principal_id = t.principal_id
    AND (h.source IN ('role', 'group role') OR h.source = 'platform role'
         AND t.organization_id IS NULL)
    AND (t.roles IS NULL OR t.roles ? h.role)
    AND (t.boundary_id IS NULL OR h.boundary_id IS NULL OR h.boundary_id = t.boundary_id)
  GROUP BY t.id
),
listed AS (
  SELECT *, NULL::timestamptz AS used_at, NULL::text AS reach FROM held
  UNION ALL
  SELECT 'service identity', s.principal_id, NULL, '', s.boundary_id, NULL, s.id, s.created_by,
    NULL, '', s.purpose, s.created_at, s.disabled_at, NULL,
    CASE WHEN h.principal_id IS NULL THEN 'no: no role' ELSE 'yes' END, '', NULL, NULL
  FROM service_identity s LEFT JOIN holders h ON h.principal_id = s.principal_id
  WHERE s.created_at <= :at
    AND (CAST(:boundary AS uuid) IS NULL OR s.boundary_id IS NULL OR s.boundary_id = :boundary)
  UNION ALL
  SELECT 'API token', t.principal_id, NULL, COALESCE(u.roles, ''), t.boundary_id, NULL, t.id,
    t.created_by, NULL, '', t.name || COALESCE(' (only ' || (
      SELECT string_agg(kept, ', ' ORDER BY kept) FROM jsonb_array_elements_text(t.roles) AS kept
    ) || ')', ''), t.created_at, t.valid_until, NULL,
    CASE WHEN u.roles IS NULL THEN 'no: its holder has no role that it lets through' ELSE 'yes' END,
    NULL, CASE WHEN t.last_used_at <= :at THEN t.last_used_at END,
    CASE WHEN t.organization_id IS NULL THEN 'wherever its holder may' END
  FROM tokens t LEFT JOIN usable u ON u.id = t.id
    LEFT JOIN holders h ON h.principal_id = t.principal_id
  WHERE CAST(:boundary AS uuid) IS NULL OR t.boundary_id = :boundary OR h.principal_id IS NOT NULL
  UNION ALL
  SELECT 'identity', p.id, NULL, '', NULL, NULL, NULL, NULL, NULL, '', '', p.created_at,
    p.disabled_at, NULL, 'no: no role', '', NULL, NULL
  FROM people p LEFT JOIN holders h ON h.principal_id = p.id
  WHERE p.kind IN ('service', 'break-glass') AND p.created_at <= :at AND p.is_own
    AND CAST(:boundary AS uuid) IS NULL AND h.principal_id IS NULL
    AND NOT EXISTS (SELECT 1 FROM service_identity s WHERE s.principal_id = p.id)
)
SELECT
  l.source,
  COALESCE(l.principal_name, p.subject, CASE WHEN l.group_id IS NOT NULL
    THEN '(nobody: the group has no members)' ELSE CAST(l.principal_id AS text) END) AS principal,
  COALESCE(p.display, '') AS display,
  CASE WHEN l.source = 'vendor grant' THEN 'vendor' WHEN l.source = 'agent' THEN 'agent'
       ELSE COALESCE(p.kind, 'group') END AS identity_type,
  COALESCE(p.issuer, '') AS idp_source,
  COALESCE(g.name, '') AS group_path,
  l.role,
  CASE WHEN l.reach IS NOT NULL THEN l.reach
       WHEN l.source = 'vendor grant'
         THEN 'account/' || (SELECT c.account FROM cloud_connection c
                             WHERE c.boundary_id = l.boundary_id LIMIT 1)
              || ' for boundary/' || b.name
       WHEN l.source = 'platform role' THEN 'platform'
       WHEN l.model IS NOT NULL THEN 'boundary/' || b.name || '/model/' || l.model
       WHEN b.name IS NOT NULL THEN 'boundary/' || b.name
       ELSE 'organization/' || :organization_name END AS resource,
  CASE WHEN l.source = 'platform role' THEN 'platform'
       WHEN l.source = 'API token' THEN 'token'
       WHEN l.source = 'vendor grant' THEN 'customer account'
       WHEN b.name IS NOT NULL THEN 'boundary' ELSE 'organization' END AS layer,
  CASE WHEN l.source = 'vendor grant' THEN 'access grant ' || l.given_id
       WHEN l.source = 'guest' THEN 'waiver ' || l.given_id
       ELSE COALESCE(CAST(l.given_id AS text), '') END AS given_as,
  COALESCE(by.subject, CAST(l.granted_by AS text), '') AS granted_by,
  concat_ws(', ', COALESCE(ok.subject, CAST(l.approved_by AS text)),
    COALESCE(too.subject, CAST(w.second_approver AS text))) AS approved_by,
  l.ticket,
  l.reason,
  COALESCE(to_char(l.valid_from AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), '')
    AS valid_from,
  COALESCE(to_char(l.valid_until AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), '')
    AS expires,
  COALESCE(to_char(CASE WHEN l.source = 'API token' THEN l.used_at ELSE acts.at END
    AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), '') AS last_used,
  CASE WHEN l.in_force NOT LIKE 'yes%' THEN l.in_force
       WHEN p.disabled_at <= :at THEN 'no: the identity was disabled'
       WHEN p.id IS NOT NULL AND NOT p.is_own AND (l.source IN ('role', 'group role')
           OR l.source = 'API token' AND NOT p.is_vendor)
         AND NOT EXISTS (SELECT 1 FROM guests t
                         WHERE t.principal_id = p.id AND t.is_in_force
                           AND (t.boundary_id IS NULL
                                OR COALESCE(l.boundary_id, :boundary) IS NULL
                                OR t.boundary_id = COALESCE(l.boundary_id, :boundary)))
         THEN 'no: a guest for whom no waiver is in force'
       WHEN p.id IS NOT NULL AND NOT p.is_own AND (l.source IN ('role', 'group role')
           OR l.source = 'API token' AND NOT p.is_vendor)
         AND l.boundary_id IS NULL
         AND NOT EXISTS (SELECT 1 FROM guests t
                         WHERE t.principal_id = p.id AND t.is_in_force AND t.boundary_id IS NULL)
         THEN 'yes: only in the boundary of the guest''s waiver'
       WHEN p.id IS NULL AND l.group_id IS NOT NULL THEN 'no: the group has no members'
       ELSE l.in_force END AS in_force,
  l.policy_version,
  -- The event says how it was at the moment; who signs in elsewhere has none in these chains.
  COALESCE(s.methods, CASE WHEN p.signed_in_at <= :at THEN p.signed_in_methods END)
    AS sign_in_methods,
  CASE WHEN s.principal_id IS NOT NULL THEN s.context
       WHEN p.signed_in_at <= :at THEN p.signed_in_context END AS sign_in_context
FROM listed l
  LEFT JOIN people p ON p.id = l.principal_id
  LEFT JOIN people by ON by.id = l.granted_by
  LEFT JOIN people ok ON ok.id = l.approved_by
  LEFT JOIN guests w ON l.source = 'guest' AND w.id = l.given_id
  LEFT JOIN people too ON too.id = w.second_approver
  LEFT JOIN principal_group g ON g.id = l.group_id
  LEFT JOIN boundary b ON b.id = l.boundary_id
  LEFT JOIN acts ON acts.principal_id = l.principal_id
  LEFT JOIN sign_ins s ON s.principal_id = l.principal_id
ORDER BY 2, 5, 1, 6, 7, 8, l.valid_from, l.given_id
"""

INDEPENDENT: Final[dict[str, str]] = {
    "role": """
        SELECT count(*) FROM role_assignment
        WHERE group_id IS NULL
          AND NOT (valid_from > :at OR COALESCE(valid_until, 'infinity') <= :at)
          AND NOT (recorded_at > :known OR COALESCE(superseded_at, 'infinity') <= :known)
          AND (boundary_id IS NULL OR boundary_id = ANY (CAST(:boundaries AS uuid[])))""",
    "group role": """
        SELECT COALESCE(sum(GREATEST(1, (
          SELECT count(DISTINCT m.principal_id) FROM group_member m WHERE m.group_id = a.group_id
            AND NOT (m.valid_from > :at OR COALESCE(m.valid_until, 'infinity') <= :at)))), 0)
        FROM role_assignment a
        WHERE principal_id IS NULL
          AND NOT (valid_from > :at OR COALESCE(valid_until, 'infinity') <= :at)
          AND NOT (recorded_at > :known OR COALESCE(superseded_at, 'infinity') <= :known)
          AND (boundary_id IS NULL OR boundary_id = ANY (CAST(:boundaries AS uuid[])))""",
    "platform role": """
        SELECT count(*) FROM report_platform_roles()
        WHERE NOT (valid_from > :at OR COALESCE(valid_until, 'infinity') <= :at)""",
    "entitlement": """
        SELECT COALESCE(sum(GREATEST(1, (
          SELECT count(DISTINCT m.principal_id) FROM group_member m WHERE m.group_id = e.group_id
            AND NOT (m.valid_from > :at OR COALESCE(m.valid_until, 'infinity') <= :at)))), 0)
        FROM entitlement e
        WHERE NOT (valid_from > :at OR COALESCE(valid_until, 'infinity') <= :at)
          AND NOT (recorded_at > :known OR COALESCE(superseded_at, 'infinity') <= :known)
          AND boundary_id = ANY (CAST(:boundaries AS uuid[]))""",
    "gateway key": """
        SELECT count(*) FROM gateway_key
        WHERE NOT (created_at > :at OR expires_at <= :at OR COALESCE(revoked_at, 'infinity') <= :at)
          AND boundary_id = ANY (CAST(:boundaries AS uuid[]))""",
    "vendor grant": """
        SELECT count(*) FROM access_grant
        WHERE state <> 'denied' AND grant_until IS NOT NULL
          AND NOT (decided_at > :at OR grant_until <= :at OR COALESCE(ended_at, 'infinity') <= :at)
          AND boundary_id = ANY (CAST(:boundaries AS uuid[]))""",
    "service identity": """
        SELECT count(*) FROM service_identity
        WHERE NOT created_at > :at
          AND (boundary_id IS NULL OR boundary_id = ANY (CAST(:boundaries AS uuid[])))""",
    "agent": """
        SELECT count(*) FROM agent
        WHERE NOT (enrolled_at > :at OR COALESCE(revoked_at, 'infinity') <= :at)
          AND boundary_id = ANY (CAST(:boundaries AS uuid[]))""",
}
"""One count per source, in another form (denied complements, scalar subqueries) and over other
joins than the query: an error in one of the two shows as a difference. Guests, API tokens and
identities without a role are counted by `entitlements.py` from lists."""
