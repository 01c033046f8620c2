"""Reading and exporting chains: by name, by role, and never without a trace."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from controlplane.core.audit_facts import FACTS
from controlplane.core.db import Database
from controlplane.domains.audit.tasks import sign_checkpoint
from proof.audit_log import Verdict, verify_export
from proof.dsse import seal
from proof.keys import encode_public, fingerprint
from tests.integration.api.conftest import PersonOf
from tests.integration.api.people import Person, organization
from tests.postgres import DatabaseUrls
from wire.audit import CHECKPOINT_TYPE, Checkpoint
from wire.envelope import Envelope


class Key:
    """Signs as the worker does, with the key that the API of these tests names."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = encode_public(key)

    def sign(self, message: Checkpoint) -> Envelope:
        return seal(self._key, CHECKPOINT_TYPE, message.to_wire())


def names(person: Person) -> list[str]:
    answer = person.get("/v1/audit/chains")
    assert answer.status_code == 200, answer.text
    return [chain["name"] for chain in answer.json()["chains"]]


def events(person: Person, chain: str, **query: Any) -> dict[str, Any]:
    parts = "&".join(f"{key}={value}" for key, value in query.items())
    answer = person.get(f"/v1/audit/events?chain={chain}&{parts}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def export(person: Person, chain: str) -> list[bytes]:
    answer = person.get(f"/v1/audit/export?chain={chain}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return list(answer.content.splitlines())


def make_boundary_admin(urls: DatabaseUrls, subject: str, boundary: str) -> None:
    """Give a person a role in one boundary only."""
    with psycopg.connect(urls.admin) as connection:
        connection.execute(
            "INSERT INTO role_assignment (organization_id, boundary_id, id, principal_id, role,"
            " granted_by, reason, valid_from)"
            " SELECT b.organization_id, b.id, gen_random_uuid(), p.id,"
            " 'boundary-admin', p.id, 'test', now() FROM boundary b, principal p"
            " WHERE b.name = %s AND p.subject = %s",
            (boundary, subject),
        )


def test_each_role_sees_the_chains_of_where_it_is_held(
    acme: PersonOf, database: DatabaseUrls
) -> None:
    all_of_acme = ["organization/acme", "boundary/payments", "boundary/research"]
    assert names(acme("omar")) == all_of_acme
    assert names(acme("ana")) == all_of_acme
    assert names(acme("max")) == ["platform", *all_of_acme]
    for name in ("pia", "sam"):
        assert acme(name).get("/v1/audit/chains").status_code == 403
    make_boundary_admin(database, "pia@acme.test", "payments")
    assert names(acme("pia")) == ["boundary/payments"]


def test_an_admin_of_one_boundary_learns_nothing_of_anothers_chain(
    acme: PersonOf, database: DatabaseUrls
) -> None:
    make_boundary_admin(database, "rui@acme.test", "research")
    rui = acme("rui")
    assert events(rui, "boundary/research")["events"] != []
    unknown = rui.get("/v1/audit/events?chain=boundary/treasury")
    for route in ("events", "checkpoints", "export"):
        for chain in ("boundary/payments", "organization/acme", "platform"):
            hidden = rui.get(f"/v1/audit/{route}?chain={chain}")
            assert hidden.status_code == unknown.status_code == 404
            body, other = hidden.json()["error"], unknown.json()["error"]
            assert body["message"].replace(chain, "X") == other["message"].replace(
                "boundary/treasury", "X"
            )
    # The refusals left nothing in the chains that were asked for.
    seen = events(acme("omar"), "boundary/payments", actor="rui@acme.test")
    assert seen["events"] == []


def test_a_denial_is_an_event_of_the_organization_that_was_meant(acme: PersonOf) -> None:
    assert acme("pia").get("/v1/audit/export?chain=boundary/research").status_code == 403
    denied = events(acme("omar"), "organization/acme", code="access.denied")["events"]
    assert [(e["target"], e["actor"]["subject"]) for e in denied] == [
        ("route/GET /v1/audit/export", "pia@acme.test")
    ]
    for chain in ("boundary/payments", "boundary/research"):
        assert events(acme("omar"), chain, code="access.denied")["events"] == []


def test_a_denial_of_someone_in_two_organizations_goes_to_the_one_named(
    acme: PersonOf, database: DatabaseUrls
) -> None:
    document = organization() | {
        "organization": "globex",
        "identity_provider": "https://idp.globex.example",
    }
    assert acme("max").put("/v1/organizations/globex", document).status_code == 200
    with psycopg.connect(database.admin) as connection:
        connection.execute(
            "INSERT INTO role_assignment (organization_id, id, principal_id, role, granted_by,"
            " reason, valid_from) SELECT o.id, gen_random_uuid(), p.id, 'engineer', p.id, 'test',"
            " now() FROM organization o, principal p, api_token t WHERE o.name = 'globex'"
            " AND p.subject = 'sam@acme.test' AND t.principal_id = p.id"
        )
    for name in ("acme", "globex"):
        refused = acme("sam").get(f"/v1/organizations/{name}/waivers")
        assert refused.status_code == 403
    with psycopg.connect(database.admin) as connection:
        rows = connection.execute(
            "SELECT o.name, count(*) FROM audit_event e JOIN organization o ON o.id = e.chain_id"
            " WHERE e.code = 'access.denied' GROUP BY o.name ORDER BY o.name"
        ).fetchall()
    assert rows == [("acme", 1), ("globex", 1)]


def test_events_are_found_by_code_actor_target_and_time(acme: PersonOf) -> None:
    omar = acme("omar")
    created = events(omar, "boundary/payments", code="boundary.created")["events"]
    assert [e["code"] for e in created] == ["boundary.created"]
    target = created[0]["target"]
    mine = events(omar, "boundary/payments", target=target, actor="sam@acme.test")["events"]
    assert {e["target"] for e in mine} == {target}
    assert events(omar, "boundary/payments", actor="nobody")["events"] == []
    moment = created[0]["at"].replace("+00:00", "Z")
    assert events(omar, "boundary/payments", to=moment)["events"] == []
    found = events(omar, "boundary/payments", **{"from": moment})["events"]
    assert found[0]["seq"] == created[0]["seq"]


def test_a_cursor_reads_a_chain_once(acme: PersonOf) -> None:
    omar, seen, after = acme("omar"), [], 0
    size = {c["name"]: c["size"] for c in omar.get("/v1/audit/chains").json()["chains"]}
    total = size["boundary/payments"]
    while len(seen) < total:
        page = events(omar, "boundary/payments", after=after, limit=2)
        seen += [e["seq"] for e in page["events"]]
        after = page["next_after"]
    assert seen[:total] == list(range(1, total + 1))


@pytest.mark.parametrize("query", ["", "chain=payments", "chain=boundary/", "chain=platform/x"])
def test_a_chain_must_be_named(acme: PersonOf, query: str) -> None:
    assert acme("omar").get(f"/v1/audit/events?{query}").status_code == 422


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "after=-1", "from=yesterday", "to=2026-01-01T00:00:00"]
)
def test_a_page_is_bounded_and_its_times_are_aware(acme: PersonOf, query: str) -> None:
    answer = acme("omar").get(f"/v1/audit/events?chain=boundary/payments&{query}")
    assert answer.status_code == 422


def test_each_reading_is_an_event_with_what_was_asked(acme: PersonOf) -> None:
    omar = acme("omar")
    events(omar, "boundary/payments", code="boundary.created", limit=5)
    last = events(omar, "boundary/payments", code="audit.read")["events"][-1]
    assert last["actor"]["subject"] == "omar@acme.test"
    assert last["detail"] == {"code": "boundary.created", "after": 0, "limit": 5, "events": 1}
    assert set(last["detail"]) <= set(FACTS["audit.read"].detail)
    # The list of chains and their checkpoints hold no event, so looking at them is none.
    size = [c["size"] for c in omar.get("/v1/audit/chains").json()["chains"]]
    omar.get("/v1/audit/checkpoints?chain=boundary/payments")
    assert [c["size"] for c in omar.get("/v1/audit/chains").json()["chains"]] == size


def test_the_platforms_chain_is_read_under_its_own_scope(acme: PersonOf) -> None:
    page = events(acme("max"), "platform")
    assert "principal.registered" in {e["code"] for e in page["events"]}
    again = events(acme("max"), "platform", code="audit.read")
    assert again["events"][-1]["actor"]["subject"] == "max@acme.test"


def sign(database: DatabaseUrls, person: Person, chain: str, key: Ed25519PrivateKey) -> None:
    """Sign a chain as the worker would."""
    found = {c["name"]: c for c in person.get("/v1/audit/chains").json()["chains"]}[chain]
    with psycopg.connect(database.admin) as connection:
        row = connection.execute(
            "SELECT organization_id::text, boundary_id::text FROM audit_chain WHERE chain_id = %s",
            (found["chain_id"],),
        ).fetchone()
    assert row is not None
    worker = Database.connect(database.worker, pool_size=1)
    sign_checkpoint(
        worker,
        Key(key),
        chain_id=found["chain_id"],
        organization_id=row[0],
        boundary_id=row[1],
    )
    worker.close()


def verified(lines: list[bytes], key: Ed25519PrivateKey) -> Verdict:
    return verify_export(lambda: lines, frozenset({fingerprint(key)}))


@pytest.mark.parametrize("chain", ["platform", "organization/acme", "boundary/payments"])
def test_an_export_verifies_offline(
    chain: str, acme: PersonOf, database: DatabaseUrls, control_plane_key: Ed25519PrivateKey
) -> None:
    sign(database, acme("max"), chain, control_plane_key)
    events(acme("max"), chain)
    sign(database, acme("max"), chain, control_plane_key)
    lines = export(acme("max"), chain)
    found = verified(lines, control_plane_key)
    assert found.findings == []
    assert (found.chain, found.checkpoints) == (chain, 2)
    assert found.signed_size == found.events - 1
    last = json.loads(lines[found.events])
    assert last["event"]["code"] == "audit.exported"
    assert last["event"]["actor"]["subject"] == "max@acme.test"
    assert last["event"]["detail"] == {"events": found.events}
    header = json.loads(lines[0])
    assert header["generator"].startswith("ringfence ")
    assert header["keys"] == {fingerprint(control_plane_key): encode_public(control_plane_key)}


def test_an_export_of_several_pages_is_whole(
    acme: PersonOf, monkeypatch: pytest.MonkeyPatch, control_plane_key: Ed25519PrivateKey
) -> None:
    monkeypatch.setattr("controlplane.domains.audit.export.PAGE", 2)
    found = verified(export(acme("omar"), "boundary/payments"), control_plane_key)
    assert found.findings == []
    assert found.events > 4


def test_an_exported_event_carries_its_ocsf_form(acme: PersonOf) -> None:
    documents = [json.loads(line) for line in export(acme("max"), "boundary/payments")]
    created = next(
        d for d in documents if d["type"] == "event" and d["event"]["code"] == "boundary.created"
    )
    ocsf, event = created["ocsf"], created["event"]
    assert (ocsf["class_uid"], ocsf["activity_id"], ocsf["type_uid"]) == (3004, 1, 300401)
    assert ocsf["category_uid"] == 3
    assert ocsf["actor"]["user"]["name"] == event["actor"]["subject"] == "sam@acme.test"
    assert ocsf["metadata"]["event_code"] == FACTS["boundary.created"].id
    assert ocsf["metadata"]["uid"] == f"{event['chain_id']}/{event['seq']}"
    assert ocsf["resources"] == [{"type": "boundary", "uid": event["boundary_id"]}]


def test_checkpoints_are_listed_with_what_a_verifier_needs(
    acme: PersonOf, database: DatabaseUrls, control_plane_key: Ed25519PrivateKey
) -> None:
    sign(database, acme("omar"), "boundary/payments", control_plane_key)
    answer = acme("omar").get("/v1/audit/checkpoints?chain=boundary/payments").json()
    (checkpoint,) = answer["checkpoints"]
    assert checkpoint["anchored_at"] is None
    assert checkpoint["signed"]["public_key"] == encode_public(control_plane_key)
    (chain,) = [
        c
        for c in acme("omar").get("/v1/audit/chains").json()["chains"]
        if c["name"] == "boundary/payments"
    ]
    assert chain["checkpoint"]["size"] == checkpoint["size"] == chain["size"]
    assert chain["anchored"] is None
