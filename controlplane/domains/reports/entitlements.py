"""R1, the entitlement snapshot: who can do what at T, as known at K.

Called by the task inside its read-only snapshot. Rows stream from one query; nothing here holds
more than one of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from controlplane.domains.identity.factors import second_factor
from controlplane.domains.reports.actions import PRIVILEGED, legend, policy_version, summary
from controlplane.domains.reports.definition import Definition, FindingLog, Moments, Row, Subject
from controlplane.domains.reports.entitlement_query import INDEPENDENT, QUERY, TEMPLATE
from controlplane.tables.provisioning import ProvisionedUser
from controlplane.tables.services import ServiceIdentity
from wire.report import Cell, Column, Freshness

FETCH_ROWS = 2000
"""Rows that one fetch of the server's cursor brings."""
_WHO, _WHAT, _GIVEN, _WHEN, _STATE = "Principal", "May do", "Given by", "Valid (UTC)", "Standing"
CELLS = (
    Cell(title=_WHO, width=2.4),
    Cell(title=_WHAT, width=3.0),
    Cell(title=_GIVEN, width=2.6),
    Cell(title=_WHEN, width=1.7),
    Cell(title=_STATE, width=1.9),
)
COLUMNS = (
    Column(key="principal", title="Principal", cell=_WHO),
    Column(key="display", title="Name", cell=_WHO),
    Column(key="identity_type", title="Identity type", cell=_WHO),
    Column(key="idp_source", title="Identity provider", cell=_WHO),
    Column(key="group_path", title="Group", cell=_WHO),
    Column(key="role", title="Role", cell=_WHAT),
    Column(key="resource", title="On", cell=_WHAT),
    Column(key="actions", title="Actions", cell=_WHAT),
    Column(key="layer", title="Layer", cell=_WHAT),
    Column(key="source", title="As", cell=_GIVEN),
    Column(key="granted_by", title="Granted by", cell=_GIVEN),
    Column(key="approved_by", title="Approved by", cell=_GIVEN),
    Column(key="ticket", title="Ticket", cell=_GIVEN),
    Column(key="reason", title="Reason", cell=_GIVEN),
    Column(key="given_as", title="Grant", cell=_GIVEN),
    Column(key="valid_from", title="From", cell=_WHEN),
    Column(key="expires", title="Expires", cell=_WHEN),
    Column(key="last_used", title="Last act", cell=_WHEN),
    Column(key="in_force", title="In force", cell=_STATE),
    Column(key="privileged", title="Privileged", cell=_STATE),
    Column(key="mfa", title="MFA", cell=_STATE),
    Column(key="policy_version", title="Policy version", cell=_STATE),
)
METHOD = (
    "Role assignments and entitlements are bitemporal: a row counts when it was valid at T and "
    "recorded, and not yet superseded, at K.",
    "A role or entitlement of a group is listed once per member at T; a group without members is "
    "listed once, as not in force.",
    "Gateway keys, access grants of the vendor, agents, waivers of guests that are not over, roles "
    "at the platform layer, service identities, API tokens, and break-glass identities without any "
    "role are rows of their own.",
    "An API token gives nothing: its row lists the roles of its holder that it lets through. Its "
    "principal is the holder; who made it stands under granted by, its last use under last act.",
    "Last act is the newest audit event of the identity, up to T, in the chains listed under "
    "completeness; a request to a model is counted in the boundary and is not one.",
    "MFA is how the person last signed in up to T, as the identity provider said it.",
    "All rows, counts and chain heads come from one read-only snapshot of the database.",
)
GAPS = (
    "Group membership has no recorded time: a removal is written into the row. A membership is "
    "therefore given as known when the report was made, also when K is earlier; the audit event "
    "group.changed has the history.",
    "MFA is unknown where the identity provider does not say how a person signed in (`amr`, "
    "`acr`), and where somebody of another issuer has signed in again since T.",
    "The last use of a token is written at most once a minute, and only the newest is kept: one "
    "that was used again since T shows none.",
    "Roles and entitlements that came with the organization's file carry no approver of their own.",
    "Whether a gateway key was used is counted inside the boundary and not per key.",
)
EXCLUSIONS = (
    "People inside the customer's own cloud account and cluster: they hold no role of this system.",
    "Operators of the database and hosts of the control plane.",
)


def define(session: Session, subject: Subject, moments: Moments) -> Definition:
    """Return R1 for a subject; its rows are read when they are asked for."""
    values = {
        "organization": subject.organization_id,
        "organization_name": subject.organization,
        "boundary": subject.boundary_id,
        "at": moments.at,
        "known": moments.known_at,
        "chains": [str(chain) for chain in subject.chains()],
        "vendor": subject.vendor_principal,
    }
    return Definition(
        kind="R1",
        title="Entitlement snapshot",
        question="Who could do what at this moment, who gave it, and until when?",
        template=TEMPLATE,
        parameters={"at": moments.at.isoformat(), "known_at": moments.known_at.isoformat()},
        method=METHOD,
        query=QUERY,
        columns=COLUMNS,
        cells=CELLS,
        legend=legend(),
        principal_column="principal",
        totals=("source", "identity_type", "layer", "role", "privileged", "in_force"),
        population=_population(session, subject, moments),
        exclusions=EXCLUSIONS,
        known_gaps=GAPS,
        freshness=_freshness(session, subject),
        independent_count=_independent(session, subject, moments),
        independent_method="one count per kind of row, written in another form over single tables, "
        "and lists of waivers, tokens and identities counted outside the database",
        rows=_stream(session, values),
        inspect=_inspect,
    )


def _stream(session: Session, values: dict[str, Any]) -> Iterator[Row]:
    options = {"stream_results": True, "yield_per": FETCH_ROWS}
    keys = [column.key for column in COLUMNS if column.key not in _ADDED]
    for found in session.execute(text(QUERY), values, execution_options=options).mappings():
        row: Row = {key: found[key] or "" for key in keys}
        is_token = row["source"] == "API token"
        row["actions"] = _of_token(row["role"]) if is_token else summary(row["role"])
        row["mfa"] = "does not apply"
        if row["identity_type"] == "human" and not is_token:
            row["mfa"] = second_factor(found["sign_in_methods"] or (), found["sign_in_context"])
        row["privileged"] = "yes" if _is_privileged(row) else "no"
        if found["policy_version"] is None:
            row["policy_version"] = policy_version()
        yield row


_ADDED = frozenset({"actions", "mfa", "privileged"})


def _of_token(roles: str) -> str:
    """Return what a token can do, by the roles of its holder that it lets through."""
    if not roles:
        return "nothing: its holder has no role that it lets through"
    return f"what its holder may do as {roles}, within its reach (legend: {roles})"


def _is_privileged(row: Row) -> bool:
    return (
        not PRIVILEGED.isdisjoint(row["role"].split(", "))
        or row["source"] in ("platform role", "vendor grant")
        or row["identity_type"] == "break-glass"
    )


def _inspect(log: FindingLog, number: int, row: Row) -> None:
    if row["in_force"] == "no: the identity was disabled" and row["privileged"] == "yes":
        log.add(
            "finding",
            "disabled-privileged",
            "A disabled identity still holds a privileged role; it would have it again if enabled.",
            number,
        )
    if row["in_force"].startswith("yes: the key works"):
        log.add(
            "finding",
            "key-of-a-leaver",
            "A gateway key works although its owner is no longer in the group that it stands for.",
            number,
        )
    if row["in_force"] == "no: a guest for whom no waiver is in force":
        log.add("note", "guest-waiting", "A guest's role waits for a waiver.", number)
    if row["source"] == "guest" and row["in_force"] == "yes":
        log.add("note", "waiver", "A waiver was in force: a wall was open to a guest.", number)
    if row["source"] == "guest" and row["in_force"] == "yes" and ", " not in row["approved_by"]:
        log.add("finding", "one-approval", "One person alone had let this guest in.", number)
    if row["in_force"] == "no: the group has no members":
        log.add("note", "empty-group", "A group holds something and has no members.", number)
    if row["source"] == "vendor grant" and row["in_force"] == "yes":
        log.add("note", "vendor-open", "The vendor's role in a customer account was open.", number)
    if row["identity_type"] == "break-glass":
        log.add("note", "break-glass", "A break-glass identity exists.", number)


def _independent(session: Session, subject: Subject, moments: Moments) -> int:
    """Count the rows a second time, by other means."""
    values = {
        "at": moments.at,
        "known": moments.known_at,
        "boundaries": [str(boundary) for boundary in subject.boundaries],
    }
    total = sum(
        int(session.execute(text(query), values).scalar_one()) for query in INDEPENDENT.values()
    )
    return (
        total
        + _guests(session, subject, values)
        + _tokens(session, subject, values)
        + _idle_identities(session, subject, values)
    )


def _guests(session: Session, subject: Subject, values: dict[str, Any]) -> int:
    """Count the waivers that were asked for and not over, from a list."""
    found = session.execute(
        text(
            "SELECT principal_id, boundary_id FROM waiver WHERE NOT (requested_at > :at"
            " OR ends_at <= :at OR COALESCE(ended_at, 'infinity') <= :at)"
        ),
        values,
    ).all()
    if subject.boundary_id is None:
        return len(found)
    holders = _role_holders(session, values)
    here = [row for row in found if row.boundary_id == subject.boundary_id]
    return len(here) + sum(row.boundary_id is None and row.principal_id in holders for row in found)


def _role_holders(session: Session, values: dict[str, Any]) -> set[Any]:
    """Return who holds a role, direct or by a group, in the boundaries in question."""
    held = session.execute(
        text(
            "SELECT principal_id, group_id FROM role_assignment WHERE NOT (valid_from > :at"
            " OR COALESCE(valid_until, 'infinity') <= :at) AND NOT (recorded_at > :known"
            " OR COALESCE(superseded_at, 'infinity') <= :known)"
            " AND (boundary_id IS NULL OR boundary_id = ANY (CAST(:boundaries AS uuid[])))"
        ),
        values,
    ).all()
    groups = {row.group_id for row in held}
    members = session.execute(
        text(
            "SELECT principal_id, group_id FROM group_member WHERE NOT (valid_from > :at"
            " OR COALESCE(valid_until, 'infinity') <= :at)"
        ),
        values,
    ).all()
    inherited = {row.principal_id for row in members if row.group_id in groups}
    return {row.principal_id for row in held if row.principal_id} | inherited


def _tokens(session: Session, subject: Subject, values: dict[str, Any]) -> int:
    """Count the API tokens that could be used, in the boundary if one is meant."""
    good = session.execute(
        text(
            "SELECT principal_id, boundary_id FROM report_tokens(CAST(:organization AS uuid))"
            " WHERE NOT (created_at > :at OR expires_at <= :at"
            " OR COALESCE(revoked_at, 'infinity') <= :at)"
        ),
        {**values, "organization": subject.organization_id},
    ).all()
    if subject.boundary_id is None:
        return len(good)
    holders = _holders(session, subject, values)
    return sum(
        token.boundary_id == subject.boundary_id
        or (token.boundary_id is None and token.principal_id in holders)
        for token in good
    )


def _holders(session: Session, subject: Subject, values: dict[str, Any]) -> set[Any]:
    """Return who holds anything at all that is listed."""
    holders = _role_holders(session, values)
    queries = [
        "SELECT principal_id FROM report_platform_roles() WHERE valid_from <= :at"
        " AND COALESCE(valid_until, 'infinity') > :at",
        "SELECT owner_id FROM gateway_key WHERE created_at <= :at AND expires_at > :at"
        " AND COALESCE(revoked_at, 'infinity') > :at",
        "SELECT m.principal_id FROM group_member m JOIN entitlement e ON e.group_id = m.group_id"
        " WHERE NOT (m.valid_from > :at OR COALESCE(m.valid_until, 'infinity') <= :at)"
        " AND NOT (e.valid_from > :at OR COALESCE(e.valid_until, 'infinity') <= :at)"
        " AND NOT (e.recorded_at > :known OR COALESCE(e.superseded_at, 'infinity') <= :known)",
    ]
    # In one boundary a guest of the whole organization is listed only with a role, and so is among
    # those already.
    waivers = (
        "SELECT principal_id FROM waiver WHERE requested_at <= :at AND ends_at > :at"
        " AND COALESCE(ended_at, 'infinity') > :at"
    )
    if subject.boundary_id is not None:
        waivers += " AND boundary_id = ANY (CAST(:boundaries AS uuid[]))"
    queries.append(waivers)
    for query in queries:
        holders |= set(session.execute(text(query), values).scalars())
    return holders


def _idle_identities(session: Session, subject: Subject, values: dict[str, Any]) -> int:
    """Count identities of no person and without a record of their own that hold nothing at all."""
    if subject.boundary_id is not None:
        return 0
    machines = set(
        session.execute(
            text(
                "SELECT id FROM report_principals(CAST(:organization AS uuid))"
                " WHERE is_own AND kind <> 'human' AND created_at <= :at"
            ),
            {**values, "organization": subject.organization_id},
        ).scalars()
    )
    recorded = set(session.scalars(select(ServiceIdentity.principal_id)))
    if not machines - recorded:
        return 0
    return len(machines - recorded - _holders(session, subject, values))


def _population(session: Session, subject: Subject, moments: Moments) -> str:
    known, disabled = session.execute(
        text(
            "SELECT count(*), count(disabled_at)"
            " FROM report_principals(CAST(:organization AS uuid))"
        ),
        {"organization": subject.organization_id},
    ).one()
    services = session.scalar(
        select(func.count(ServiceIdentity.id)).where(ServiceIdentity.created_at <= moments.at)
    )
    tokens = session.execute(
        text(
            "SELECT count(*) FROM report_tokens(CAST(:organization AS uuid))"
            " WHERE created_at <= :at AND LEAST(expires_at, revoked_at) > :at"
        ),
        {"organization": subject.organization_id, "at": moments.at},
    ).scalar_one()
    pushed = session.scalar(
        select(func.count(ProvisionedUser.id)).where(ProvisionedUser.removed_at.is_(None))
    )
    whence = (
        f"Who has signed in or is mapped, and the {pushed} people that the organization's identity "
        "provider pushes over SCIM."
        if pushed
        else "Who has signed in or is mapped: this system keeps no copy of the organization's "
        "directory."
    )
    return (
        f"{whence} It knows {known} identities of this organization, its guests and the vendor's "
        f"staff, {disabled} of them disabled; {services} service identities, and {tokens} API "
        "tokens that were good at T. Somebody of the directory who is in none of these can do "
        "nothing here, and is not listed."
    )


def _freshness(session: Session, subject: Subject) -> tuple[Freshness, ...]:
    sources = {
        "role assignments": ("role_assignment", "recorded_at", "newest recorded change"),
        "group members": ("group_member", "GREATEST(valid_from, valid_until)", "newest change"),
        "entitlements": ("entitlement", "recorded_at", "newest recorded change"),
        "gateway keys": ("gateway_key", "GREATEST(created_at, revoked_at)", "newest change"),
        "waivers": (
            "waiver",
            "GREATEST(requested_at, first_approved_at, second_approved_at, ended_at)",
            "newest change",
        ),
        "service identities": (
            "service_identity",
            "GREATEST(created_at, disabled_at)",
            "newest change",
        ),
        "API tokens": (
            "report_tokens(CAST(:organization AS uuid))",
            "GREATEST(created_at, revoked_at)",
            "newest change",
        ),
        "access grants": (
            "access_grant",
            "GREATEST(requested_at, decided_at, activated_at, ended_at)",
            "newest change",
        ),
    }
    found = []
    for source, (table, moment, note) in sources.items():
        query = f"SELECT max({moment}) FROM {table}"  # noqa: S608 - both names stand above
        values = {"organization": subject.organization_id} if ":" in query else {}
        as_of = session.execute(text(query), values).scalar_one()
        found.append(Freshness(source=source, as_of=as_of, note=note))
    return tuple(found)
