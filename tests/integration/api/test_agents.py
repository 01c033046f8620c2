"""Agents over the API: one-time enrolment, signed requests, bundles, verbs, usage."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from starlette.testclient import TestClient

from controlplane.core.actor import OpContext, system_actor
from controlplane.core.db import Database, Scope
from controlplane.core.ids import new_id
from controlplane.domains.agents import bundles, enrolment, service
from controlplane.domains.agents.tasks import publish_changes
from proof.dsse import countersign, open_envelope, seal
from proof.keys import encode_public
from proof.request_signing import HEADER, sign_request
from tests.integration.api.conftest import PersonOf
from tests.postgres import DatabaseUrls
from wire.agent import AgentStatus, CloseReport, EnrolRequest, VerbResult
from wire.bundle import BUNDLE_TYPE, VERB_TYPE, Bundle, CloseVerb, Verb
from wire.envelope import Envelope
from wire.resources import parse_spec
from wire.usage import Feature, RollupPush, UsageRollup

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
    acme: PersonOf, database: DatabaseUrls, control_plane_key: Ed25519PrivateKey
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


def status(sequence: int, at: datetime | None = None) -> dict[str, Any]:
    """Return a status that says bundle `sequence` was applied."""
    return AgentStatus(
        agent_version="0.1.0",
        applied_sequence=sequence,
        refused=None,
        gateway_url="http://127.88.0.1:8080",
        resources=(),
        smoke=(),
        observed_at=at or datetime.now(UTC),
    ).to_wire()


def rollup(boundary: Boundary, sequence: int, requests: int) -> UsageRollup:
    """Return an hour's counts."""
    buckets = (requests, *([0] * 14))
    return UsageRollup(
        boundary_id=str(boundary.boundary_id),
        hour_start=datetime(2026, 11, 22, 14, tzinfo=UTC),
        group_id="payments-engineers",
        model_version="tiny-coder",
        adapter_id="payments-style",
        feature=Feature.CHAT_ASK,
        sequence=sequence,
        requests=requests,
        input_tokens=10 * requests,
        output_tokens=41 * requests,
        errors={},
        ttft_buckets=buckets,
        duration_buckets=buckets,
        ttft_sum_ms=38.0,
        duration_sum_ms=400.0,
        as_of=datetime.now(UTC),
        is_final=False,
    )


def test_a_token_enrols_one_key_and_only_that_key_may_ask_again(
    client: TestClient, boundary: Boundary
) -> None:
    token = boundary.token()
    first = AgentClient(client)
    answer = first.enrol(token)
    assert answer.status_code == 200
    assert answer.json()["boundary_name"] == "payments"
    # The answer may have been lost: the same key gets the same identity.
    assert first.enrol(token).json()["agent_id"] == answer.json()["agent_id"]
    thief = AgentClient(client).enrol(token)
    unknown = AgentClient(client).enrol("rfe_" + "y" * 43)
    assert thief.status_code == unknown.status_code == 401
    assert thief.json()["error"]["message"] == unknown.json()["error"]["message"]


def test_a_key_without_proof_of_possession_is_refused(
    client: TestClient, boundary: Boundary
) -> None:
    token = boundary.token()
    forged = AgentClient(client)
    proof = Ed25519PrivateKey.generate().sign(hashlib.sha256(token.encode()).digest())
    request = EnrolRequest(
        token=token,
        public_key=encode_public(forged.key),
        proof_of_possession=base64.b64encode(proof).decode(),
        agent_version="0.1.0",
    )
    answer = client.post("/agent/v1/enrol", json=request.to_wire())
    assert answer.status_code == 400
    assert answer.json()["error"]["field"] == "proof_of_possession"
    assert AgentClient(client).enrol(token).status_code == 200


def test_a_request_must_be_signed_by_the_agent_as_it_is_and_lately(
    agent: AgentClient, client: TestClient
) -> None:
    assert agent.call("POST", "/agent/v1/status", status(0)).status_code == 204
    stale = datetime.now(UTC) - timedelta(minutes=6)
    assert agent.call("POST", "/agent/v1/status", status(0), at=stale).status_code == 401
    assert agent.id is not None
    header = sign_request(agent.key, agent.id, "POST", "/agent/v1/status", b"{}", datetime.now(UTC))
    moved = client.post("/agent/v1/usage", content=b"{}", headers={HEADER: header})
    altered = client.post("/agent/v1/status", content=b'{"a":1}', headers={HEADER: header})
    unsigned = client.post("/agent/v1/status", content=b"{}")
    assert [r.status_code for r in (moved, altered, unsigned)] == [401, 401, 401]


def test_a_new_enrolment_puts_the_earlier_key_out(
    agent: AgentClient, client: TestClient, boundary: Boundary
) -> None:
    second = AgentClient(client)
    assert second.enrol(boundary.token()).status_code == 200
    assert agent.call("POST", "/agent/v1/status", status(0)).status_code == 401
    assert second.call("POST", "/agent/v1/status", status(0)).status_code == 204


def test_a_bundle_reaches_the_agent_with_both_signatures_and_a_valid_vocabulary(
    agent: AgentClient,
    boundary: Boundary,
    acme: PersonOf,
    control_plane_key: Ed25519PrivateKey,
) -> None:
    made = acme("max").post(
        "/v1/boundaries/payments/gateway-keys",
        {"group": "payments-engineers", "owner": "pia@acme.test"},
    )
    boundary.publish()
    answer = agent.call("GET", "/agent/v1/desired?after=0&wait=0").json()
    envelope = Envelope.model_validate(answer["bundle"])
    required = {
        "control plane": control_plane_key.public_key(),
        "customer": boundary.customer.key.public_key(),
    }
    bundle = Bundle.from_wire(open_envelope(envelope, BUNDLE_TYPE, required))
    assert bundle.sequence == 1
    kinds = [(r.kind, r.name) for r in bundle.resources]
    assert kinds == [
        ("SecurityBoundary", "payments"),
        ("ModelArtifact", "tiny-coder"),
        ("ModelArtifact", "payments-style"),
        ("ModelInstance", "tiny-coder"),
        ("AdapterBinding", "payments-style"),
        ("GatewayAccess", "gateway"),
    ]
    for resource in bundle.resources:
        parse_spec(resource.kind, resource.spec)
    access = bundle.resources[-1].spec
    digest = hashlib.sha256(made.json()["key"].encode()).hexdigest()
    assert [k["hash"] for k in access["keys"]] == [f"sha256:{digest}"]
    assert made.json()["key"] not in envelope.payload
    assert access["groups"] == [
        {"name": "payments-engineers", "models": ["payments-style", "tiny-coder"]}
    ]
    assert agent.call("GET", "/agent/v1/desired?after=1&wait=0").json()["bundle"] is None


def test_a_changed_key_becomes_a_new_bundle_and_no_change_becomes_none(
    agent: AgentClient, boundary: Boundary, acme: PersonOf
) -> None:
    boundary.republish()
    assert agent.call("GET", "/agent/v1/desired").json()["bundle"] is None
    boundary.publish()
    boundary.republish()
    assert agent.call("GET", "/agent/v1/desired?after=1").json()["bundle"] is None
    acme("pia").post(
        "/v1/boundaries/payments/gateway-keys",
        {"group": "payments-engineers", "owner": "pia@acme.test"},
    )
    boundary.republish()
    answer = agent.call("GET", "/agent/v1/desired?after=1").json()
    payload = json.loads(base64.b64decode(answer["bundle"]["payload"]))
    assert payload["sequence"] == 2
    assert len(payload["resources"][-1]["spec"]["keys"]) == 1


def test_a_poll_waits_for_what_is_new_and_holds_no_connection(
    agent: AgentClient, boundary: Boundary, api_database: Database
) -> None:
    answers: list[Any] = []
    poll = threading.Thread(
        target=lambda: answers.append(agent.call("GET", "/agent/v1/desired?after=0&wait=20"))
    )
    started = time.monotonic()
    poll.start()
    deadline = started + 5
    while time.monotonic() < deadline and not poll.is_alive():
        pass
    boundary.publish()
    poll.join(timeout=15)
    assert answers[0].json()["bundle"] is not None
    assert time.monotonic() - started < 15
    assert api_database.engine.pool.checkedout() == 0  # type: ignore[attr-defined] # a queue pool


def test_an_agent_sees_and_answers_verbs_of_its_boundary_only(
    agent: AgentClient, boundary: Boundary, acme: PersonOf
) -> None:
    verb = Verb(
        id=uuid4(),
        boundary_id=boundary.boundary_id,
        issued_at=datetime.now(UTC),
        action=CloseVerb(grant_number=1, role_name="ringfence-payments-g1"),
    )
    with boundary.worker.transaction(boundary.scope) as session:
        for _ in range(2):
            service.issue_verb(
                session,
                boundary.context,
                boundary.organization_id,
                boundary.boundary_id,
                verb_id=verb.id,
                kind="close",
                run_id=None,
                envelope=boundary.signer.sign(verb),
            )
    assert len(agent.call("GET", "/agent/v1/desired").json()["verbs"]) == 1
    foreign = VerbResult(verb_id=uuid4(), refused=None)
    answer = agent.call("POST", "/agent/v1/verb-results", foreign.to_wire())
    assert answer.status_code == 404
    report = CloseReport(
        role_name="ringfence-payments-g1",
        detached=("arn:aws:iam::aws:policy/AWSDenyAll",),
        role_deleted=True,
        role_absent_at=datetime.now(UTC),
    )
    result = VerbResult(verb_id=verb.id, close=report)
    for _ in range(2):
        sent = agent.call("POST", "/agent/v1/verb-results", result.to_wire())
        assert sent.status_code == 204, sent.text
    assert agent.call("GET", "/agent/v1/desired").json()["verbs"] == []
    with boundary.worker.transaction(boundary.scope) as session:
        kept = service.verb_result(session, boundary.boundary_id, verb.id)
    assert kept == result
    codes = [e["code"] for e in acme("omar").get("/v1/boundaries/payments/audit").json()["events"]]
    assert codes.count("verb.issued") == codes.count("verb.answered") == 1


def test_a_late_older_status_does_not_replace_a_newer_one(
    agent: AgentClient, acme: PersonOf
) -> None:
    at = datetime.now(UTC)
    agent.call("POST", "/agent/v1/status", status(3, at))
    agent.call("POST", "/agent/v1/status", status(2, at - timedelta(seconds=5)))
    shown = acme("pia").get("/v1/boundaries/payments/agent").json()
    assert shown["applied_sequence"] == 3
    assert shown["gateway_url"] == "http://127.88.0.1:8080"


def test_usage_is_counted_once_under_repeats_and_reordering(
    agent: AgentClient, boundary: Boundary, acme: PersonOf
) -> None:
    early, late = rollup(boundary, 1, 1), rollup(boundary, 2, 3)
    for row in (early, late, early, late):
        push = RollupPush(rollups=(row,), sequence=row.sequence)
        sent = agent.call("POST", "/agent/v1/usage", push.model_dump(mode="json"))
        assert sent.status_code == 204, sent.text
    items = acme("max").get("/v1/boundaries/payments/usage").json()["items"]
    assert [(i["requests"], i["output_tokens"], i["adapter_id"]) for i in items] == [
        (3, 123, "payments-style")
    ]


def test_an_agent_reports_no_usage_of_another_boundary(
    agent: AgentClient, boundary: Boundary, acme: PersonOf
) -> None:
    research = acme("max").get("/v1/boundaries/research").json()["id"]
    foreign = rollup(boundary, 1, 1).model_copy(update={"boundary_id": research})
    push = RollupPush(rollups=(foreign,), sequence=1).model_dump(mode="json")
    assert agent.call("POST", "/agent/v1/usage", push).status_code == 403
    assert acme("max").get("/v1/boundaries/research/usage").json()["items"] == []


def test_a_message_of_an_unknown_version_says_which_side_to_upgrade(agent: AgentClient) -> None:
    document = {**status(1), "version": 99}
    answer = agent.call("POST", "/agent/v1/status", document)
    assert 400 <= answer.status_code < 500
    assert "upgrade" in answer.text
