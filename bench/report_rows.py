"""Measure R1: rows per second and memory, over two sizes, to see whether memory grows with rows.

`python -m bench.report_rows --json build/bench/reports.json` starts a PostgreSQL of its own, fills
an organization with members of groups, and makes the report as the worker's role does: query,
rows in two forms, hashes, statement, signature, JSON, CSV, PDF, and keeping it all in the database.
Each size runs in a process of its own, whose peak of resident memory is what is reported; a run
over ten rows gives the part that any report costs.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from controlplane.adapters.typesetting.report import TypstTypesetter
from controlplane.core.db import Database
from controlplane.core.ids import new_id
from controlplane.domains.reports.tasks import generate_report
from tests.integration.api.reporting import make_maker
from tests.postgres import DatabaseUrls, ServerProcess, migrated
from wire.report import PrintedPage, ReportStatement

BASE_ROWS = 10


def fill(urls: DatabaseUrls, members: int) -> UUID:
    """Write an organization with one group of `members`, who hold one role; ask for its R1."""
    organization, boundary, group, report = new_id(), new_id(), new_id(), new_id()
    with psycopg.connect(urls.admin) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(
            "INSERT INTO organization (id, name, display_name, document, document_digest)"
            " VALUES (%s, 'bench', 'Bench', '{}', 'x')",
            (organization,),
        )
        connection.execute(
            "INSERT INTO boundary (organization_id, id, name, display_name, target, blueprint,"
            " blueprint_version, inputs) VALUES (%s, %s, 'main', 'Main', '{}', 'x', '1', '{}')",
            (organization, boundary),
        )
        connection.execute(
            "INSERT INTO identity_provider (organization_id, id, issuer)"
            " VALUES (%s, %s, 'https://idp.test')",
            (organization, new_id()),
        )
        connection.execute(
            "INSERT INTO principal (id, issuer, subject, kind, display) SELECT gen_random_uuid(),"
            " 'https://idp.test', 'person-' || n || '@bench.test', 'human', 'Person ' || n"
            " FROM generate_series(1, %s) n",
            (members,),
        )
        connection.execute(
            "INSERT INTO principal_group (organization_id, id, name) VALUES (%s, %s, 'everybody')",
            (organization, group),
        )
        connection.execute(
            "INSERT INTO group_member (organization_id, id, group_id, principal_id)"
            " SELECT %s, gen_random_uuid(), %s, id FROM principal",
            (organization, group),
        )
        connection.execute(
            "INSERT INTO role_assignment (organization_id, id, group_id, role, valid_from, reason,"
            " boundary_id) VALUES (%s, %s, %s, 'engineer', now(), 'bench', %s)",
            (organization, new_id(), group, boundary),
        )
        connection.execute(
            "INSERT INTO report (organization_id, id, covers, kind, parameters, state,"
            " requested_by) SELECT %s, %s, %s, 'R1', '{}', 'queued', id FROM principal LIMIT 1",
            (organization, report, [boundary]),
        )
        connection.execute("ANALYZE")
    return report


class TimedTypesetter:
    """The real typesetter with a clock: its part is bounded, the rows' part is not."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._typesetter = TypstTypesetter()

    def typeset(
        self, statement: ReportStatement, folder: Path, *, signed_by: str
    ) -> tuple[Path, tuple[PrintedPage, ...]]:
        """Typeset and count the time."""
        started = time.perf_counter()
        made = self._typesetter.typeset(statement, folder, signed_by=signed_by)
        self.seconds += time.perf_counter() - started
        return made


def make(url: str, auditor_url: str, report: str, results: Any) -> None:
    """Make one report in this process and send what it took."""
    database = Database.connect(url, pool_size=2)
    reading = Database.connect(auditor_url, pool_size=1)
    with tempfile.TemporaryDirectory() as folder:
        typesetter = TimedTypesetter()
        maker = make_maker(Ed25519PrivateKey.generate(), Path(folder))
        maker = replace(maker, typesetter=typesetter)
        started = time.perf_counter()
        generate_report(database, reading, maker, report_id=report)
        seconds = time.perf_counter() - started
    reading.close()
    database.close()
    results.put(
        {
            "seconds": round(seconds - typesetter.seconds, 2),
            "typesetting_seconds": round(typesetter.seconds, 2),
            "peak_mb": _peak_mb(resource.RUSAGE_SELF),
            "typesetting_peak_mb": _peak_mb(resource.RUSAGE_CHILDREN),
        }
    )


def _peak_mb(whose: int) -> float:
    return round(resource.getrusage(whose).ru_maxrss / 1024, 1)


def measure(urls: DatabaseUrls, rows: int) -> dict[str, Any]:
    """Return what a report of `rows` rows takes."""
    report = fill(urls, rows)
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=make, args=(urls.worker, urls.auditor, str(report), results))
    process.start()
    found: dict[str, Any] = results.get(timeout=1200)
    process.join()
    with psycopg.connect(urls.admin) as connection:
        row = connection.execute(
            "SELECT row_count, state, (SELECT json_object_agg(format, size_bytes) FROM report_file"
            " WHERE report_id = report.id) FROM report WHERE id = %s",
            (report,),
        ).fetchone()
    urls.empty()
    assert row is not None
    assert (row[0], row[1]) == (rows, "ready"), row
    return {
        "rows": rows,
        **found,
        "rows_per_second": round(rows / found["seconds"]),
        "bytes": row[2],
    }


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--json", type=Path, default=Path("build/bench/reports.json"))
    arguments = parser.parse_args()
    server = ServerProcess()
    try:
        urls = migrated(server.start())
        runs = [measure(urls, rows) for rows in (BASE_ROWS, *arguments.rows)]
    finally:
        server.stop()
    document = {"bench": "report_rows", "python": platform.python_version(), "runs": runs}
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(document, indent=2) + "\n")
    for run in runs:
        print(
            f"{run['rows']:>8} rows  {run['seconds']:>7.2f} s  {run['rows_per_second']:>6} rows/s"
            f" + typesetting {run['typesetting_seconds']:.2f} s"
            f"  peak {run['peak_mb']:.0f} MB, typesetting {run['typesetting_peak_mb']:.0f} MB"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
