"""Agents over the API: one-time enrolment, signed requests, bundles, verbs."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from starlette.testclient import TestClient

from controlplane.core.db import Database
from controlplane.core.errors import ConflictError
from controlplane.domains.agents import bundles, service
from proof.dsse import open_envelope
from proof.keys import encode_public
from proof.request_signing import HEADER, sign_request
from tests.integration.api.agents import PLACEMENT, AgentClient, Boundary
from tests.integration.api.conftest import PersonOf
from tests.postgres import DatabaseUrls
from wire.agent import AgentStatus, CloseReport, EnrolRequest, VerbResult
from wire.bundle import BUNDLE_TYPE, Bundle, CloseVerb, Verb
from wire.envelope import Envelope
from wire.resources import parse_spec


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


def lose_bundles(database: DatabaseUrls, above: int) -> None:
    """Let the platform's database be an older one: what was published since is unknown to it."""
    with psycopg.connect(database.admin) as connection:
        connection.execute("DELETE FROM bundle WHERE sequence > %s", (above,))
        connection.execute("DELETE FROM outbox")


def sequence_of(envelope: dict[str, Any]) -> int:
    found: int = json.loads(base64.b64decode(envelope["payload"]))["sequence"]
    return found


def test_an_agent_ahead_of_an_old_database_gets_a_bundle_above_its_own(
    agent: AgentClient, boundary: Boundary, acme: PersonOf, database: DatabaseUrls
) -> None:
    for _ in range(3):
        boundary.publish()
    lose_bundles(database, above=1)
    # Nothing is new to such an agent, and what we published last says nothing of what it runs.
    assert agent.call("GET", "/agent/v1/desired?after=3").json()["bundle"] is None
    for _ in range(2):
        assert agent.call("POST", "/agent/v1/status", status(3)).status_code == 204
    with psycopg.connect(database.admin) as connection:
        tasks = connection.execute("SELECT task FROM outbox").fetchall()
    assert tasks == [(service.PUBLISH,)]

    boundary.republish()
    answer = agent.call("GET", "/agent/v1/desired?after=3").json()
    assert sequence_of(answer["bundle"]) == 4
    events = acme("omar").get("/v1/boundaries/payments/audit").json()["events"]
    (raised,) = [e for e in events if e["code"] == "bundle.sequence-raised"]
    assert raised["target"] == "bundle/4"
    assert raised["detail"] == {"published": 1, "reported": 3}

    # From there on it is as ever: no change, no bundle.
    agent.call("POST", "/agent/v1/status", status(4))
    boundary.republish()
    assert agent.call("GET", "/agent/v1/desired?after=4").json()["bundle"] is None


def test_a_bundle_the_agent_would_refuse_as_old_is_not_published(
    agent: AgentClient, boundary: Boundary
) -> None:
    with boundary.worker.transaction(boundary.scope) as session:
        built = bundles.build_bundle(session, boundary.boundary_id, PLACEMENT)
    envelope = boundary.customer.countersign(boundary.signer.sign(built))
    agent.call("POST", "/agent/v1/status", status(7))
    with (
        pytest.raises(ConflictError, match="the agent has applied 7"),
        boundary.worker.transaction(boundary.scope) as session,
    ):
        service.publish_bundle(
            session, boundary.context, boundary.organization_id, boundary.boundary_id,
            built.sequence, envelope,
        )  # fmt: skip
    assert boundary.publish().sequence == 8


def test_an_agent_cannot_use_up_the_sequence(agent: AgentClient, boundary: Boundary) -> None:
    refused = agent.call("POST", "/agent/v1/status", status(2**52 + 1))
    assert refused.status_code == 400, refused.text
    assert refused.json()["error"]["field"] == "applied_sequence"
    assert boundary.publish().sequence == 1


def test_a_message_of_an_unknown_version_says_which_side_to_upgrade(agent: AgentClient) -> None:
    document = {**status(1), "version": 99}
    answer = agent.call("POST", "/agent/v1/status", document)
    assert 400 <= answer.status_code < 500
    assert "upgrade" in answer.text
