"""A bench for sagas: a seeded tenant, and a run executed in this process by the real engine.

Used by the tests of the engine and of every saga; the database and its roles are real.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psycopg

from controlplane.core import clock
from controlplane.core.actor import Actor, OpContext
from controlplane.core.db import Database, Scope
from controlplane.core.ids import new_id
from controlplane.core.run_engine.definition import Definition, Gate, always_open
from controlplane.core.run_engine.executor import EngineSettings, RunExecutor
from controlplane.core.run_engine.fence import Claim, claim_run
from controlplane.core.run_engine.service import create_run
from tests.postgres import DatabaseUrls

QUICK = EngineSettings(
    lease_seconds=5.0, retry_base_seconds=0.01, retry_cap_seconds=0.02, drain_seconds=2.0
)


@dataclass
class Tenant:
    """One organization with one boundary, one install and two people."""

    organization_id: UUID
    boundary_id: UUID
    install_id: UUID
    requester: OpContext
    approver: OpContext

    @property
    def scope(self) -> Scope:
        return Scope.boundary(self.organization_id, self.boundary_id)


def person(name: str, scope: Scope) -> OpContext:
    """Return the context of a person of that name."""
    actor = Actor(new_id(), "https://idp.acme.test", name, "human", None, name)
    return OpContext(actor, f"request-{name}", scope)


def seed_tenant(urls: DatabaseUrls, name: str = "payments") -> Tenant:
    """Write a tenant as the administrator of the test server."""
    organization, boundary, install = new_id(), new_id(), new_id()
    scope = Scope.boundary(organization, boundary)
    tenant = Tenant(
        organization, boundary, install, person(f"sam-{name}", scope), person(f"ana-{name}", scope)
    )
    with psycopg.connect(urls.admin) as connection:
        connection.execute(
            "INSERT INTO organization (id, name, display_name, document, document_digest)"
            " VALUES (%s, %s, 'Acme', '{}', 'sha256:0')",
            (organization, f"acme-{name}"),
        )
        connection.execute(
            "INSERT INTO boundary (organization_id, id, name, display_name, target, blueprint,"
            " blueprint_version, inputs) VALUES (%s, %s, %s, %s, '{}', 'eks-model-stack',"
            " '0.1.0', '{}')",
            (organization, boundary, name, name),
        )
        connection.execute(
            "INSERT INTO install (organization_id, boundary_id, id, name, lifecycle, health,"
            " drift, access, created_by) VALUES (%s, %s, %s, 'main', 'requested', 'unknown',"
            " 'unknown', 'unknown', %s)",
            (organization, boundary, install, tenant.requester.actor.principal_id),
        )
    return tenant


@dataclass
class Bench:
    """Two roles' databases and what executes a run."""

    urls: DatabaseUrls
    api: Database
    worker: Database
    scheduler: Database
    tenant: Tenant
    settings: EngineSettings = QUICK
    draining: threading.Event = field(default_factory=threading.Event)

    def start(self, definition: Definition, params: dict[str, Any] | None = None) -> UUID:
        """Create a run as the API would; a saga of the tests' own changes no install."""
        of_tests = definition.kind.startswith("test.")
        with self.api.transaction(self.tenant.scope) as session:
            return create_run(
                session,
                self.tenant.requester,
                organization_id=self.tenant.organization_id,
                boundary_id=self.tenant.boundary_id,
                install_id=None if of_tests else self.tenant.install_id,
                kind=definition.kind,
                lane=definition.lane,
                params=params,
            )

    def ask(self, action: Callable[..., Any], *args: Any, ctx: OpContext | None = None) -> Any:
        """Call a function of the engine's service in a transaction of the API."""
        with self.api.transaction(self.tenant.scope) as session:
            return action(session, ctx or self.tenant.requester, *args)

    def claim(self, run_id: UUID) -> Claim | None:
        """Claim a run as a worker would."""
        return claim_run(self.worker, "bench", self.settings.lease_seconds, run_id)

    def claim_soon(self, run_id: UUID) -> Claim:
        """Claim a run that a worker may have given back only now."""
        return claim_soon(self.worker, self.settings.lease_seconds, run_id)

    def execute(
        self, run_id: UUID, definition: Definition, ports: Any = None, gate: Gate = always_open
    ) -> str:
        """Claim a run, carry it as far as it goes, and return its state."""
        claim = self.claim_soon(run_id)
        claimed_at = clock.elapsed()
        RunExecutor(
            self.worker, definition, claim, ports, self.settings, self.draining, claimed_at, gate
        ).run()
        return str(self.run(run_id)["state"])

    def rows(self, query: str, *args: Any) -> list[dict[str, Any]]:
        """Read rows past all walls."""
        with psycopg.connect(self.urls.admin, row_factory=psycopg.rows.dict_row) as connection:
            return connection.execute(query, args).fetchall()  # type: ignore[arg-type,return-value]

    def run(self, run_id: UUID) -> dict[str, Any]:
        return self.rows("SELECT * FROM run WHERE id = %s", run_id)[0]

    def steps(self, run_id: UUID) -> dict[str, dict[str, Any]]:
        rows = self.rows("SELECT * FROM step WHERE run_id = %s ORDER BY position", run_id)
        return {row["key"]: row for row in rows}

    def states(self, run_id: UUID) -> dict[str, str]:
        return {key: row["state"] for key, row in self.steps(run_id).items()}

    def events(self, run_id: UUID) -> list[dict[str, Any]]:
        return self.rows("SELECT * FROM run_event WHERE run_id = %s ORDER BY seq", run_id)

    def change(self, query: str, *args: Any) -> None:
        """Change rows past all walls, as time or an accident would."""
        with psycopg.connect(self.urls.admin) as connection:
            connection.execute(query, args)  # type: ignore[arg-type]


def claim_soon(
    worker: Database, lease_seconds: float, run_id: UUID | None = None, seconds: float = 2.0
) -> Claim:
    """Claim a run; its row may still be locked by the last heartbeat of the one before.

    A claim skips locked rows, as a worker does, which asks again at its next poll. Shorter than a
    lease, so that a lease that was not given back still fails.
    """
    deadline = time.monotonic() + seconds
    while (claim := claim_run(worker, "bench", lease_seconds, run_id)) is None:
        assert time.monotonic() < deadline, f"not claimed within {seconds} s: {run_id or 'any run'}"
        time.sleep(0.02)
    return claim


@contextmanager
def open_bench(urls: DatabaseUrls) -> Iterator[Bench]:
    """Seed a tenant and open a bench on the database."""
    databases = [Database.connect(url) for url in (urls.api, urls.worker, urls.scheduler)]
    try:
        yield Bench(urls, *databases, seed_tenant(urls))
    finally:
        for database in databases:
            database.close()


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    """Poll until the condition holds. Raises: AssertionError naming what did not come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        threading.Event().wait(0.02)
