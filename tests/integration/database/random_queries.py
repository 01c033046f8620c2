"""Random statements over all tenant tables, built from the metadata, and what they may not do.

Used by `test_random_queries.py`. Statements are as hostile as SQL lets them be: foreign ids in
conditions and values, joins without a condition, moves of a row to another tenant. They run under
a role and a scope in a superuser's session (`SET LOCAL ROLE`), which then looks at all rows of the
table itself and rolls everything back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

import psycopg
from hypothesis import strategies as st
from psycopg import sql
from sqlalchemy import Table

from controlplane.core.db import Scope
from controlplane.tables import metadata

Connection = psycopg.Connection[tuple[Any, ...]]
Kind = Literal["select", "update", "delete", "insert"]
ROLES = (
    "ringfence_api",
    "ringfence_worker",
    "ringfence_scheduler",
    "ringfence_auditor",
    *("ringfence_owner",) * 4,
)
"""The owner has every right on the tables, so that for it only the policies are left."""
REFUSALS = ("42501", "23", "P0001", "RF001")
"""No right or policy, a constraint, a trigger, the run's fence; anything else is a bad query."""
TENANT_TABLES = {
    table.name: table
    for table in metadata.sorted_tables
    if table.info.get("tenancy") in ("organization", "boundary", "chain")
}


@dataclass(frozen=True)
class Place:
    """One boundary of the world."""

    organization_id: UUID
    boundary_id: UUID


@dataclass(frozen=True)
class Query:
    """One statement as one caller; `own` says which rows its scope may touch."""

    kind: Kind
    table: str
    role: str
    scope: Scope
    statement: sql.Composed
    values: tuple[Any, ...] = ()


@dataclass
class Outcome:
    """What a statement did: rows it showed or changed, and what of others' it touched."""

    rows: int = 0
    is_refused: bool = False
    violations: list[str] = field(default_factory=list)


def has_boundary(table: Table) -> bool:
    """Tell whether each row of the table is of one boundary."""
    return table.info.get("tenancy") == "boundary"


def is_own(table: Table, scope: Scope, organization: UUID | None, boundary: UUID | None) -> bool:
    """Tell whether a row of a table is of the scope: the rule, a second time, in Python."""
    if organization is None or organization != scope.organization_id:
        return False
    if has_boundary(table) or (table.info.get("tenancy") == "chain" and boundary is not None):
        return boundary in (scope.boundary_ids or frozenset())
    return True


def conditions(table: str, other: str, places: tuple[Place, ...]) -> st.SearchStrategy[Any]:
    """Return conditions, most of which a foreign row would meet."""
    me = sql.Identifier(table)
    foreign = st.sampled_from(places).map(
        lambda place: sql.SQL("{}.organization_id = {}").format(
            me, sql.Literal(place.organization_id)
        )
    )
    fixed = [
        sql.SQL("true"),
        sql.SQL("{}.organization_id IS NOT NULL OR random() < 2").format(me),
        sql.SQL("EXISTS (SELECT 1 FROM {})").format(sql.Identifier(other)),
        sql.SQL("{}.organization_id IN (SELECT organization_id FROM {})").format(
            me, sql.Identifier(other)
        ),
        sql.SQL("{}.ctid IS NOT NULL AND NOT false").format(me),
    ]
    if "boundary_id" in TENANT_TABLES[table].columns:
        everywhere = sql.SQL("{}.boundary_id = ANY ({})").format(
            me, sql.Literal([place.boundary_id for place in places])
        )
        fixed.append(everywhere)
    return st.one_of(foreign, st.sampled_from(fixed))


def shown(table: str) -> sql.Composed:
    """Return the two columns that say whose a row is; NULL where there is no such column."""
    me = sql.Identifier(table)
    boundary = (
        sql.SQL("{}.boundary_id").format(me)
        if "boundary_id" in TENANT_TABLES[table].columns
        else sql.SQL("NULL::uuid")
    )
    return sql.SQL("{}.organization_id, {}").format(me, boundary)


@st.composite
def scopes(draw: st.DrawFn, places: tuple[Place, ...]) -> Scope:
    """Return a scope: one organization and any boundaries, also ones that are not its own."""
    organization = draw(st.sampled_from(places)).organization_id
    own = frozenset(p.boundary_id for p in places if p.organization_id == organization)
    chosen = frozenset(draw(st.sets(st.sampled_from([place.boundary_id for place in places]))))
    return Scope(organization, draw(st.sampled_from([own, own, chosen, chosen, None])))


@st.composite
def queries(draw: st.DrawFn, places: tuple[Place, ...]) -> Query:
    """Return a random statement of a random caller."""
    table, other = (draw(st.sampled_from(sorted(TENANT_TABLES))) for _ in range(2))
    kind: Kind = draw(st.sampled_from(["select", "select", "update", "delete", "insert"]))
    where = draw(conditions(table, other, places))
    place = draw(st.sampled_from(places))
    me, them = sql.Identifier(table), sql.Identifier(other)
    made: sql.Composed
    if kind == "select":
        made = _select(draw, table, other, where)
    elif kind == "delete":
        using = sql.SQL("") if other == table else sql.SQL("USING {}").format(them)
        made = sql.SQL("DELETE FROM {} {} WHERE {} RETURNING {}").format(
            me, using, where, shown(table)
        )
    elif kind == "update":
        made = sql.SQL("UPDATE {} SET {} WHERE {} RETURNING {}").format(
            me, _assignments(draw, table, place), where, shown(table)
        )
    else:
        made = _insert(draw, table, place, where)
    return Query(kind, table, draw(st.sampled_from(ROLES)), draw(scopes(places)), made)


def _select(draw: st.DrawFn, table: str, other: str, where: sql.Composable) -> sql.Composed:
    me = sql.Identifier(table)
    joined: sql.Composable = sql.SQL("")
    if other != table:
        joined = sql.SQL(draw(st.sampled_from(["", "JOIN {} ON true", "LEFT JOIN {} ON true"])))
        joined = joined.format(sql.Identifier(other)) if isinstance(joined, sql.SQL) else joined
    lock = sql.SQL(draw(st.sampled_from(["", "", f'FOR SHARE OF "{table}"'])))
    return sql.SQL("SELECT {} FROM {} {} WHERE {} {}").format(shown(table), me, joined, where, lock)


def _assignments(draw: st.DrawFn, table: str, place: Place) -> sql.Composed:
    """Return a change in place, or one that moves the row to another tenant."""
    moves = {"organization_id": place.organization_id}
    if "boundary_id" in TENANT_TABLES[table].columns:
        moves["boundary_id"] = place.boundary_id
    names = draw(st.sets(st.sampled_from(sorted(moves))))
    parts: list[sql.Composable] = [
        sql.SQL("{} = {}").format(sql.Identifier(n), sql.Literal(moves[n])) for n in sorted(names)
    ]
    return sql.SQL(", ").join(parts or [sql.SQL("organization_id = organization_id")])


def _insert(draw: st.DrawFn, table: str, place: Place, where: sql.Composable) -> sql.Composed:
    """Return a copy of visible rows, under another key and for any tenant."""
    given: dict[str, sql.Composable] = {
        "organization_id": sql.Literal(place.organization_id),
        "boundary_id": sql.Literal(place.boundary_id),
        "id": sql.SQL("gen_random_uuid()"),
    }
    names = [c.name for c in TENANT_TABLES[table].columns if c.identity is None]
    values = [given.get(n, sql.Identifier(n)) for n in names]
    clash = sql.SQL(draw(st.sampled_from(["", "ON CONFLICT DO NOTHING"])))
    return sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {} WHERE {} {} RETURNING {}").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, names)),
        sql.SQL(", ").join(values),
        sql.Identifier(table),
        where,
        clash,
        shown(table),
    )


def run(connection: Connection, query: Query) -> Outcome:
    """Run a statement as its caller, look at what it did, and roll it back."""
    outcome = Outcome()
    table = TENANT_TABLES[query.table]
    try:
        before = _foreign_rows(connection, table, query.scope)
        connection.execute("SAVEPOINT statement")
        for key, value in query.scope.settings().items():
            connection.execute("SELECT set_config(%s, %s, true)", (key, value))
        connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(query.role)))
        try:
            rows = connection.execute(query.statement).fetchall()
        except psycopg.DatabaseError as refusal:
            if not (refusal.sqlstate or "").startswith(REFUSALS):
                raise
            outcome.is_refused, rows = True, []
            connection.execute("ROLLBACK TO SAVEPOINT statement")
        connection.execute("RESET ROLE")
        outcome.rows = len(rows)
        outcome.violations += [
            f"{query.kind} gave a row of {row}"
            for row in rows
            if not is_own(table, query.scope, row[0], row[1])
        ]
        if _foreign_rows(connection, table, query.scope) != before:
            outcome.violations.append(f"{query.kind} changed rows of others in {query.table}")
    finally:
        connection.rollback()
    return outcome


def _foreign_rows(connection: Connection, table: Table, scope: Scope) -> list[str]:
    statement = sql.SQL("SELECT {}, {}::text FROM {}").format(
        shown(table.name), sql.Identifier(table.name), sql.Identifier(table.name)
    )
    rows = connection.execute(statement).fetchall()
    return sorted(row[2] for row in rows if not is_own(table, scope, row[0], row[1]))
