"""An agent of boundary payments and what the saga does for it; fixtures `boundary` and `agent`.

Used by the tests of agents and of usage, through `conftest`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from starlette.testclient import TestClient

from controlplane.core.actor import OpContext, system_actor
from controlplane.core.db import Database, Scope
from controlplane.core.ids import new_id
from controlplane.domains.agents import bundles, enrolment, service
from controlplane.domains.agents.tasks import publish_changes
from proof.dsse import countersign, seal
from proof.keys import encode_public
from proof.request_signing import HEADER, sign_request
from tests.integration.api.people import Person
from tests.postgres import DatabaseUrls
from wire.agent import EnrolRequest
from wire.bundle import BUNDLE_TYPE, VERB_TYPE, Bundle, Verb
from wire.envelope import Envelope

PLACEMENT = bundles.Placement(
    bucket="ringfence-payments-111122223333-artifacts",
    region="eu-central-1",
    engine_image="ringfence/engine-llamacpp@sha256:" + "e" * 64,
    object_keys={"sha256:" + c * 64: f"artifacts/{c}" for c in "ab"},
)


class Signer:
    """The worker's control-plane key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    def sign(self, message: Bundle | Verb) -> Envelope:
        """Seal a bundle or a verb."""
        kind = BUNDLE_TYPE if isinstance(message, Bundle) else VERB_TYPE
        return seal(self._key, kind, message.to_wire())


class Customer:
    """The customer's key."""

    def __init__(self) -> None:
        self.key = Ed25519PrivateKey.generate()

    def countersign(self, envelope: Envelope) -> Envelope:
        """Add the customer's signature."""
        return countersign(envelope, self.key)


@dataclass
class Boundary:
    """The boundary payments with an install, as worker and agent see it."""

    organization_id: UUID
    boundary_id: UUID
    install_id: UUID
    worker: Database
    signer: Signer
    customer: Customer

    @property
    def scope(self) -> Scope:
        """Return the boundary's scope."""
        return Scope.boundary(self.organization_id, self.boundary_id)

    @property
    def context(self) -> OpContext:
        """Return the worker's context."""
        return OpContext(system_actor("worker"), "run/1", self.scope)

    def token(self) -> str:
        """Issue an enrolment token as the saga does."""
        with self.worker.transaction(self.scope) as session:
            return enrolment.issue_token(
                session, self.context, self.organization_id, self.boundary_id, self.install_id
            ).token

    def publish(self) -> Bundle:
        """Publish the first bundle as the saga does."""
        with self.worker.transaction(self.scope) as session:
            bundle = bundles.build_bundle(session, self.boundary_id, PLACEMENT)
            envelope = self.customer.countersign(self.signer.sign(bundle))
            service.publish_bundle(
                session,
                self.context,
                self.organization_id,
                self.boundary_id,
                bundle.sequence,
                envelope,
            )
        return bundle

    def republish(self) -> None:
        """Do the worker's task after a change."""
        publish_changes(
            self.worker,
            self.signer,
            self.customer,
            organization_id=str(self.organization_id),
            boundary_id=str(self.boundary_id),
        )


class AgentClient:
    """An agent with its own key."""

    def __init__(self, client: TestClient) -> None:
        self._client = client
        self.key = Ed25519PrivateKey.generate()
        self.id: UUID | None = None

    def enrol(self, token: str) -> Any:
        """Present a one-time token with proof of the key."""
        proof = self.key.sign(hashlib.sha256(token.encode()).digest())
        request = EnrolRequest(
            token=token,
            public_key=encode_public(self.key),
            proof_of_possession=base64.b64encode(proof).decode(),
            agent_version="0.1.0",
        )
        answer = self._client.post("/agent/v1/enrol", json=request.to_wire())
        if answer.status_code == 200:
            self.id = UUID(answer.json()["agent_id"])
        return answer

    def call(
        self, method: str, target: str, document: Any = None, *, at: datetime | None = None
    ) -> Any:
        """Send a signed request."""
        assert self.id is not None
        body = json.dumps(document).encode() if document is not None else b""
        header = sign_request(self.key, self.id, method, target, body, at or datetime.now(UTC))
        return self._client.request(
            method,
            target,
            content=body,
            headers={HEADER: header, "content-type": "application/json"},
        )


@pytest.fixture
def boundary(
    acme: Callable[[str], Person], database: DatabaseUrls, control_plane_key: Ed25519PrivateKey
) -> Iterator[Boundary]:
    """Boundary payments of the demo's organization, with an install."""
    found = acme("sam").get("/v1/boundaries/payments").json()
    install = new_id()
    with psycopg.connect(database.admin) as connection:
        connection.execute(
            "INSERT INTO install (organization_id, boundary_id, id, name, lifecycle, health, drift,"
            " access, created_by) VALUES (%s, %s, %s, 'x', 'installing', 'unknown', 'unknown',"
            " 'open', %s)",
            (found["organization_id"], found["id"], install, new_id()),
        )
    worker = Database.connect(database.worker, pool_size=2)
    yield Boundary(
        UUID(found["organization_id"]),
        UUID(found["id"]),
        install,
        worker,
        Signer(control_plane_key),
        Customer(),
    )
    worker.close()


@pytest.fixture
def agent(client: TestClient, boundary: Boundary) -> AgentClient:
    """An enrolled agent of boundary payments."""
    made = AgentClient(client)
    assert made.enrol(boundary.token()).status_code == 200
    return made
