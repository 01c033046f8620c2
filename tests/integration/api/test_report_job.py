"""What a person is told of a report whose job fails for a reason that nobody foresaw."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from controlplane.core.broker import run_job
from controlplane.core.db import Database
from controlplane.core.jobs import AwaitedJob
from controlplane.domains.reports.service import GENERATE
from controlplane.domains.reports.tasks import report_job
from tests.integration.api.conftest import PersonOf
from tests.integration.api.reporting import make_maker
from tests.postgres import DatabaseUrls


class BrokenPress:
    """A typesetter with a mistake of its own."""

    def __init__(self) -> None:
        self.tried = 0

    def typeset(self, *_: Any, **__: Any) -> Any:
        self.tried += 1
        raise ZeroDivisionError("a mistake of ours")


@pytest.fixture
def press() -> BrokenPress:
    return BrokenPress()


@pytest.fixture
def database_of_the_worker(database: DatabaseUrls) -> Iterator[Database]:
    opened = Database.connect(database.worker, pool_size=2)
    yield opened
    opened.close()


@pytest.fixture
def job(
    database: DatabaseUrls, database_of_the_worker: Database, press: BrokenPress,
    control_plane_key: Ed25519PrivateKey, tmp_path: Path,
) -> Iterator[AwaitedJob]:  # fmt: skip
    reading = Database.connect(database.auditor, pool_size=1)
    maker = replace(make_maker(control_plane_key, tmp_path), typesetter=press)
    yield report_job(database_of_the_worker, reading, maker)
    reading.close()


def sent(urls: DatabaseUrls) -> int:
    """Count a message as the relay does, and return the job's row."""
    with psycopg.connect(urls.admin) as connection:
        row = connection.execute(
            "UPDATE outbox SET attempts = attempts + 1, sent_at = now() WHERE task = %s"
            " AND done_at IS NULL RETURNING id",
            (GENERATE,),
        ).fetchone()
    assert row is not None, "the job is done"
    return int(row[0])


def test_a_report_that_fails_for_an_unforeseen_reason_ends_after_three_attempts(
    acme: PersonOf, database: DatabaseUrls, database_of_the_worker: Database, job: AwaitedJob,
    press: BrokenPress,
) -> None:  # fmt: skip
    auditor = acme("omar")
    asked = auditor.post("/v1/reports", {"kind": "R1"}).json()
    for attempt in (1, 2, 3):
        before = auditor.get(f"/v1/reports/{asked['id']}").json()
        assert (before["state"], press.tried) == ("queued", attempt - 1)
        run_job(database_of_the_worker, GENERATE, job, sent(database))
    shown = auditor.get(f"/v1/reports/{asked['id']}").json()
    assert (shown["state"], press.tried) == ("failed", 3)
    assert "not yours" in shown["error"]
    assert "mistake of ours" not in str(shown)
    with psycopg.connect(database.admin) as connection:
        (left,) = connection.execute(
            "SELECT count(*) FROM outbox WHERE task = %s AND done_at IS NULL", (GENERATE,)
        ).fetchone() or (None,)
        events = connection.execute(
            "SELECT count(*) FROM audit_event WHERE code = 'report.failed'"
        ).fetchone()
    assert left == 0
    assert events == (1,)
