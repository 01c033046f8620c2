"""A tenant with a chain, and the worker's signature over it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from controlplane.adapters.signing.control_plane_key import ControlPlaneKey
from controlplane.core import audit
from controlplane.core.outbox_relay import mark_done
from controlplane.domains.audit.tasks import CHECKPOINT, sign_checkpoint
from controlplane.reconcilers.checkpoints import CheckpointsDue
from proof.audit_chain import open_checkpoint
from proof.keys import create_private_key
from tests.integration.api.conftest import (  # noqa: F401 - fixtures of the API tests
    acme,
    api_database,
    client,
    control_plane_key,
    person,
)
from tests.postgres import DatabaseUrls
from tests.sagas.bench import Bench, open_bench
from wire.audit import Checkpoint, SignedCheckpoint


@dataclass
class Chained:
    """A bench whose boundary's chain is written and signed as the processes do it."""

    bench: Bench
    signer: ControlPlaneKey
    written: int = field(default=0)

    @property
    def chain_id(self) -> UUID:
        return self.bench.tenant.boundary_id

    def write(self, count: int) -> None:
        """Append events as the API."""
        tenant = self.bench.tenant
        with self.bench.api.transaction(tenant.scope) as session:
            for _ in range(count):
                self.written += 1
                audit.append(
                    session,
                    tenant.requester,
                    "boundary.updated",
                    target=f"boundary/{tenant.boundary_id}",
                    boundary_id=tenant.boundary_id,
                    detail={"number": self.written},
                )

    def due(self, events: int = 1, seconds: float = 3600.0) -> list[str]:
        """Let the scheduler look; return the chains for which it asked."""
        found = CheckpointsDue(self.bench.scheduler, events, seconds).activate()
        return list(found["checkpoints"])

    def work(self) -> None:
        """Do the jobs that the scheduler asked for, as the worker."""
        for row in self.bench.rows("SELECT * FROM outbox WHERE done_at IS NULL"):
            assert row["task"] == CHECKPOINT
            mark_done(self.bench.worker, row["id"])
            sign_checkpoint(self.bench.worker, self.signer, **row["args"])

    def sign(self) -> None:
        """Sign the chain as it stands."""
        self.due()
        self.work()

    def checkpoints(self) -> list[SignedCheckpoint]:
        """Return the chain's checkpoints."""
        rows = self.bench.rows(
            "SELECT signed FROM audit_checkpoint WHERE chain_id = %s ORDER BY size", self.chain_id
        )
        return [SignedCheckpoint.from_wire(row["signed"]) for row in rows]

    def opened(self) -> list[Checkpoint]:
        """Return what the checkpoints say, their signatures checked."""
        pins = frozenset({self.signer.fingerprint})
        return [open_checkpoint(signed, pins)[0] for signed in self.checkpoints()]

    def events(self) -> list[dict[str, Any]]:
        """Return the rows of the chain."""
        return self.bench.rows(
            "SELECT * FROM audit_event WHERE chain_id = %s ORDER BY seq", self.chain_id
        )


@pytest.fixture
def signer(tmp_path: Path) -> ControlPlaneKey:
    """The control-plane key as the worker holds it."""
    path = tmp_path / "control-plane.pem"
    create_private_key(path)
    return ControlPlaneKey(path)


@pytest.fixture
def chained(database: DatabaseUrls, signer: ControlPlaneKey) -> Iterator[Chained]:
    """A tenant whose chain is empty."""
    with open_bench(database) as bench:
        yield Chained(bench, signer)
