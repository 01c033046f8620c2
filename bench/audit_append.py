"""Measure how many audited changes per second the control plane can commit, and what audit costs.

`python -m bench.audit_append --json build/bench/audit-append.json` starts a PostgreSQL of its own,
durable as in production (fsync on), and ends it. Each writer is a process with one connection that
changes a row of its boundary and commits: without audit, with the product's append, and with an
append of four statements under the same lock (how it was before `audit_append`). The three take
turns in short rounds, so that a busy machine slows all alike; the figure to read is the ratio.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from sqlalchemy import text
from sqlalchemy.orm import Session

from controlplane.core import audit
from controlplane.core.actor import OpContext
from controlplane.core.db import Database
from proof.audit_chain import event_hash
from tests.postgres import DatabaseUrls, ServerProcess, migrated
from tests.sagas.bench import Tenant, person, seed_tenant

CHANGE = text("UPDATE install SET updated_at = clock_timestamp() WHERE id = :id")
Append = Callable[[Session, OpContext, UUID], object]


def no_audit(session: Session, ctx: OpContext, boundary_id: UUID) -> None:
    """Change without a record; never done by the product."""


def one_statement(session: Session, ctx: OpContext, boundary_id: UUID) -> None:
    """The product's append."""
    audit.append(
        session,
        ctx,
        "install.changed",
        target="install/1",
        boundary_id=boundary_id,
        detail={"health": "healthy", "access": "closed"},
    )


def four_statements(session: Session, ctx: OpContext, boundary_id: UUID) -> None:
    """Lock, read, insert and update as statements of their own, hashing in between."""
    key = {"id": boundary_id}
    session.execute(text("SELECT 1 FROM audit_chain WHERE chain_id = :id FOR UPDATE"), key)
    head = session.execute(
        text("SELECT head_seq, head_hash, clock_timestamp() FROM audit_chain WHERE chain_id = :id"),
        key,
    ).one()
    event = {
        "chain_id": str(boundary_id),
        "organization_id": str(ctx.scope.organization_id),
        "boundary_id": str(boundary_id),
        "seq": head[0] + 1,
        "at": head[2].isoformat(timespec="microseconds"),
        "code": "install.changed",
        "actor": audit.actor_record(ctx),
        "request_id": ctx.request_id,
        "target": "install/1",
        "detail": {"health": "healthy", "access": "closed"},
        "prev_hash": head[1],
    }
    event["hash"] = event_hash(event)
    session.execute(
        text(
            "INSERT INTO audit_event (chain_id, seq, organization_id, boundary_id, at, code, actor,"
            " request_id, target, detail, prev_hash, hash) VALUES (:chain_id, :seq,"
            " :organization_id, :boundary_id, CAST(:at AS timestamptz), :code,"
            " CAST(:actor AS jsonb), :request_id, :target, CAST(:detail AS jsonb), :prev_hash,"
            " :hash)"
        ),
        {**event, "actor": json.dumps(event["actor"]), "detail": json.dumps(event["detail"])},
    )
    session.execute(
        text("UPDATE audit_chain SET head_seq = :seq, head_hash = :hash WHERE chain_id = :id"),
        {"seq": event["seq"], "hash": event["hash"], **key},
    )


WAYS: dict[str, Append] = {
    "no_audit": no_audit,
    "one_statement": one_statement,
    "four_statements": four_statements,
}


def write(
    url: str, tenant: Tenant, barrier: Any, rounds: list[tuple[str, float]], out: Any
) -> None:
    """Do every round with the others, and report how many changes each committed."""
    database = Database.connect(url, pool_size=1)
    ctx = person("bench", tenant.scope)
    counts = []
    for name, seconds in rounds:
        barrier.wait()
        append, count, until = WAYS[name], 0, time.perf_counter() + seconds
        while time.perf_counter() < until:
            with database.transaction(tenant.scope) as session:
                session.execute(CHANGE, {"id": tenant.install_id})
                append(session, ctx, tenant.boundary_id)
            count += 1
        counts.append(count)
    out.put(counts)
    database.close()


def measure(
    urls: DatabaseUrls, tenants: list[Tenant], seconds: float, turns: int
) -> dict[str, Any]:
    """Return changes per second of each way with one writer per entry of `tenants`."""
    rounds = [(name, seconds) for _ in range(turns) for name in WAYS]
    context = multiprocessing.get_context("fork")
    barrier, out = context.Barrier(len(tenants)), context.Queue()
    writers = [
        context.Process(target=write, args=(urls.api, tenant, barrier, rounds, out))
        for tenant in tenants
    ]
    for writer in writers:
        writer.start()
    counts = [out.get(timeout=300) for _ in writers]
    for writer in writers:
        writer.join(timeout=30)
    rates = {
        name: [
            round(sum(c[i] for c in counts) / seconds, 1)
            for i, (round_name, _) in enumerate(rounds)
            if round_name == name
        ]
        for name in WAYS
    }
    best = {name: max(values) for name, values in rates.items()}
    return {
        "writers": len(tenants),
        "boundaries": len({t.boundary_id for t in tenants}),
        "per_second": rates,
        "best_per_second": best,
        "one_statement_to_four": round(best["one_statement"] / best["four_statements"], 2),
        "one_statement_to_no_audit": round(best["one_statement"] / best["no_audit"], 2),
    }


def server_side(urls: DatabaseUrls, tenants: list[Tenant], seconds: float) -> dict[str, Any]:
    """Return how many audited changes per second the database itself commits, one by one.

    The client's share of a change (SQLAlchemy, one process per writer) is left out: a procedure in
    the server changes a row, appends and commits in a loop, a connection per boundary side by side.
    """
    with psycopg.connect(urls.admin, autocommit=True) as connection:
        connection.execute(
            "CREATE OR REPLACE PROCEDURE"
            " bench_append(o uuid, b uuid, i uuid, seconds float8, INOUT n int)"
            " LANGUAGE plpgsql AS $$ DECLARE until timestamptz := clock_timestamp() +"
            " make_interval(secs => seconds); BEGIN WHILE clock_timestamp() < until LOOP"
            " PERFORM set_config('app.organization', o::text, true),"
            " set_config('app.boundaries', '{' || b::text || '}', true);"
            " UPDATE install SET updated_at = clock_timestamp() WHERE id = i;"
            " PERFORM audit_append(b, o, b, 'install.changed', '{}', 'r', 't', '{}',"
            ' \'{"a":"\', \'","b":"\', \'","c":\', \'}\'); COMMIT; n := n + 1;'
            " END LOOP; END $$"
        )
        connection.execute("GRANT EXECUTE ON PROCEDURE bench_append TO ringfence_api")
    context = multiprocessing.get_context("fork")
    out = context.Queue()

    def call(tenant: Tenant) -> None:
        with psycopg.connect(urls.api, autocommit=True) as connection:
            row = connection.execute(
                "CALL bench_append(%s, %s, %s, %s, 0)",
                (tenant.organization_id, tenant.boundary_id, tenant.install_id, seconds),
            ).fetchone()
            out.put(row[0] if row else 0)

    callers = [context.Process(target=call, args=(tenant,)) for tenant in tenants]
    for caller in callers:
        caller.start()
    total = sum(out.get(timeout=120) for _ in callers)
    for caller in callers:
        caller.join(timeout=30)
    return {"connections": len(tenants), "per_second": round(total / seconds, 1)}


def run(seconds: float, turns: int) -> dict[str, Any]:
    """Measure on a server of our own."""
    process = ServerProcess(durable=True)
    server = process.start()
    try:
        urls = migrated(server)
        tenants = [seed_tenant(urls, f"boundary-{number}") for number in range(16)]
        for tenant in tenants:
            warm = Database.connect(urls.api, pool_size=1)
            with warm.transaction(tenant.scope) as session:
                one_statement(session, person("bench", tenant.scope), tenant.boundary_id)
            warm.close()
        return {
            "cores": os.cpu_count(),
            "machine": platform.machine(),
            "postgres": _durability(urls),
            "four_boundaries": measure(urls, tenants[:4], seconds, turns),
            "one_boundary": measure(urls, [tenants[0]] * 4, seconds, turns),
            "server_side": server_side(urls, tenants, seconds),
        }
    finally:
        process.stop()


def _durability(urls: DatabaseUrls) -> dict[str, str]:
    names = ("fsync", "synchronous_commit", "full_page_writes")
    with psycopg.connect(urls.admin) as connection:
        rows = [connection.execute(f"SHOW {name}").fetchone() for name in names]  # type: ignore[arg-type]
    return {name: row[0] if row else "" for name, row in zip(names, rows, strict=True)}


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="where to write the result")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one round")
    parser.add_argument("--turns", type=int, default=3, help="rounds of each way")
    arguments = parser.parse_args()
    result = run(arguments.seconds, arguments.turns)
    document = json.dumps(result, indent=2)
    print(document)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(document + "\n")


if __name__ == "__main__":
    main()
