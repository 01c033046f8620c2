"""Checkpoints: asked for in time, signed by the worker only, and only over what holds."""

from __future__ import annotations

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError, ProgrammingError

from controlplane.core import audit
from controlplane.core.db import Scope
from controlplane.core.errors import ConflictError
from controlplane.domains.audit.tasks import sign_checkpoint
from controlplane.domains.audit.tree import StoredTree
from proof.audit_chain import ChainWalk, check_succession, event_leaf, hash_text
from proof.merkle import inclusion_proof, verify_inclusion
from tests.integration.audit.conftest import Chained
from tests.sagas.bench import Tenant, seed_tenant


def test_a_chain_is_due_after_so_many_events_or_so_many_seconds(chained: Chained) -> None:
    chained.write(9)
    assert chained.due(events=10, seconds=3600) == []
    chained.write(1)
    assert chained.due(events=10, seconds=3600) == [str(chained.chain_id)]
    # One open job is enough.
    assert chained.due(events=10, seconds=3600) == []
    chained.work()
    assert chained.due(events=1, seconds=0) == []
    chained.write(1)
    assert chained.due(events=10, seconds=3600) == []
    assert chained.due(events=10, seconds=0) == [str(chained.chain_id)]


def test_checkpoints_follow_each_other_with_proof(chained: Chained) -> None:
    for count in (3, 252, 1, 300, 1, 500):
        chained.write(count)
        chained.sign()
    signed, opened = chained.checkpoints(), chained.opened()
    assert [c.size for c in opened] == [3, 255, 256, 556, 557, 1057]
    for index, checkpoint in enumerate(opened):
        before = opened[index - 1] if index else None
        check_succession(before, signed[index], checkpoint)
    walk = ChainWalk()
    roots = {}
    with chained.bench.api.transaction(chained.bench.tenant.scope) as session:
        events = session.query(audit.AuditEvent).order_by(audit.AuditEvent.seq).all()
    for event in events:
        walk.follow(audit.record(event))
        roots[walk.size] = (walk.root(), walk.head_hash)
    assert [(c.root, c.head_hash) for c in opened] == [roots[c.size] for c in opened]
    assert opened[0].chain == "boundary/payments"


def test_stored_subtrees_give_proofs_over_any_event(chained: Chained) -> None:
    chained.write(700)
    chained.sign()
    (checkpoint,) = chained.opened()
    levels = chained.bench.rows("SELECT level, count(*) AS n FROM audit_subtree GROUP BY level")
    assert {row["level"]: row["n"] for row in levels} == {8: 2, 9: 1}
    hashes = [event["hash"] for event in chained.events()]
    with chained.bench.api.transaction(chained.bench.tenant.scope) as session:
        tree = StoredTree(session, chained.chain_id)
        for index in (0, 255, 256, 511, 512, 699):
            proof = inclusion_proof(index, checkpoint.size, tree)
            root = bytes.fromhex(checkpoint.root[7:])
            verify_inclusion(event_leaf(hashes[index]), index, checkpoint.size, proof, root)
        assert hash_text(tree.frontier(700).root()) == checkpoint.root


def test_a_checkpoint_reads_the_new_events_only(chained: Chained) -> None:
    chained.write(600)
    chained.sign()
    chained.write(5)
    # What is covered by stored subtrees is not read again: its rows may be on slower storage.
    chained.bench.change("DELETE FROM audit_event WHERE seq <= 512")
    chained.sign()
    assert [c.size for c in chained.opened()] == [600, 605]


def test_a_platform_and_an_organization_chain_are_signed_too(chained: Chained) -> None:
    bench = chained.bench
    organization = Scope(bench.tenant.organization_id)
    with bench.api.transaction(organization) as session:
        audit.append(session, bench.tenant.requester, "organization.applied", target="o/1")
    chained.sign()
    rows = bench.rows("SELECT chain_id, size FROM audit_checkpoint")
    assert rows == [{"chain_id": bench.tenant.organization_id, "size": 1}]


@pytest.mark.parametrize(
    ("statement", "seq"),
    [
        ("UPDATE audit_event SET detail = '{\"number\": 0}' WHERE seq = 8", 8),
        ("DELETE FROM audit_event WHERE seq = 9", 9),
        ("DELETE FROM audit_event WHERE seq = 12", 12),
        ("UPDATE audit_event SET hash = 'sha256:' || repeat('a', 64) WHERE seq = 2", 1),
        ("UPDATE audit_chain SET head_hash = 'sha256:' || repeat('b', 64)", 12),
    ],
)
def test_what_does_not_hold_is_not_signed(chained: Chained, statement: str, seq: int) -> None:
    chained.write(5)
    chained.sign()
    chained.write(7)
    chained.bench.change(statement)
    chained.due()
    with pytest.raises(ConflictError, match="not signed") as caught:
        chained.work()
    assert caught.value.stable_code == "audit-chain-broken"
    assert caught.value.internal_context["seq"] == seq
    assert [c.size for c in chained.opened()] == [5]
    # It is not forgotten: the scheduler asks again.
    assert chained.due() == [str(chained.chain_id)]


def test_two_workers_make_one_checkpoint(chained: Chained) -> None:
    chained.write(300)
    chained.due()
    (job,) = chained.bench.rows("SELECT args FROM outbox")
    for _ in range(2):
        sign_checkpoint(chained.bench.worker, chained.signer, **job["args"])
    assert [c.size for c in chained.opened()] == [300]


@pytest.mark.parametrize(
    ("who", "statement"),
    [
        ("api", "INSERT INTO audit_checkpoint (chain_id, size) VALUES (gen_random_uuid(), 1)"),
        ("api", "UPDATE audit_checkpoint SET root = 'x'"),
        ("api", "DELETE FROM audit_checkpoint"),
        ("worker", "UPDATE audit_checkpoint SET root = 'x'"),
        ("worker", "DELETE FROM audit_subtree"),
        ("scheduler", "INSERT INTO audit_subtree (chain_id, level) VALUES (gen_random_uuid(), 8)"),
        ("worker", "SELECT * FROM chains_due_for_checkpoint(1, 1)"),
    ],
)
def test_only_the_worker_makes_checkpoints_and_nobody_changes_them(
    chained: Chained, who: str, statement: str
) -> None:
    database = getattr(chained.bench, who)
    with (
        pytest.raises(ProgrammingError, match="permission denied"),
        database.transaction(Scope.platform()) as session,
    ):
        session.execute(text(statement))


def append_quickly(chained: Chained, tenant: Tenant) -> None:
    """Append one event to a tenant's chain, waiting for its lock hardly at all."""
    with chained.bench.api.transaction(tenant.scope) as session:
        session.execute(text("SET LOCAL lock_timeout = '200ms'"))
        audit.append(
            session,
            tenant.requester,
            "boundary.updated",
            target=f"boundary/{tenant.boundary_id}",
            boundary_id=tenant.boundary_id,
        )


def test_one_boundarys_writers_never_wait_for_anothers(chained: Chained) -> None:
    chained.write(1)
    other = seed_tenant(chained.bench.urls, "research")
    with psycopg.connect(chained.bench.urls.admin) as holder:
        holder.execute(
            "SELECT 1 FROM audit_chain WHERE chain_id = %s FOR UPDATE", (chained.chain_id,)
        )
        for _ in range(20):
            append_quickly(chained, other)
        # The held chain itself does wait: the test's lock is the one that writers take.
        with pytest.raises(OperationalError, match="lock timeout"):
            append_quickly(chained, chained.bench.tenant)
    assert len(chained.events()) == 1
