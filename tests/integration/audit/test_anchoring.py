"""Anchoring over the API: an agent gets its boundary's checkpoints, and says where they are."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from controlplane.core import audit
from controlplane.domains.audit.tasks import sign_checkpoint
from proof.audit_chain import open_checkpoint
from proof.keys import fingerprint
from tests.integration.api.agents import (  # noqa: F401 - fixtures of an enrolled agent
    AgentClient,
    Boundary,
    agent,
    boundary,
)
from tests.integration.api.conftest import PersonOf
from tests.integration.audit.test_reading import Key
from wire.audit import Checkpoint, CheckpointAnchored, CheckpointBatch

ROUTE = "/agent/v1/checkpoints"


def grow(boundary: Boundary, key: Ed25519PrivateKey) -> None:  # noqa: F811 - the fixture's value
    """Let the boundary's chain grow by one event, and sign it."""
    with boundary.worker.transaction(boundary.scope) as session:
        audit.append(
            session,
            boundary.context,
            "boundary.updated",
            target=f"boundary/{boundary.boundary_id}",
            boundary_id=boundary.boundary_id,
        )
    sign_checkpoint(
        boundary.worker,
        Key(key),
        chain_id=str(boundary.boundary_id),
        organization_id=str(boundary.organization_id),
        boundary_id=str(boundary.boundary_id),
    )


def offered(agent: AgentClient, key: Ed25519PrivateKey) -> list[Checkpoint]:  # noqa: F811
    """Return what the agent is given."""
    answer = agent.call("GET", ROUTE)
    assert answer.status_code == 200, answer.text
    pins = frozenset({fingerprint(key)})
    batch = CheckpointBatch.from_wire(answer.json())
    return [open_checkpoint(signed, pins)[0] for signed in batch.checkpoints]


def report(agent: AgentClient, size: int, root: str, location: str = "s3://b/k") -> Any:  # noqa: F811
    """Say that a checkpoint is in the bucket."""
    document = CheckpointAnchored(size=size, root=root, location=location).to_wire()
    return agent.call("POST", ROUTE, document)


def chain_of(acme: PersonOf, name: str) -> dict[str, Any]:
    chains = acme("omar").get("/v1/audit/chains").json()["chains"]
    found: dict[str, Any] = next(c for c in chains if c["name"] == name)
    return found


def test_an_agent_anchors_its_boundarys_checkpoints(
    acme: PersonOf,
    boundary: Boundary,  # noqa: F811
    agent: AgentClient,  # noqa: F811
    control_plane_key: Ed25519PrivateKey,
) -> None:
    assert offered(agent, control_plane_key) == []
    grow(boundary, control_plane_key)
    grow(boundary, control_plane_key)
    first, second = offered(agent, control_plane_key)
    assert second.previous is not None
    assert second.previous.size == first.size
    assert first.chain == "boundary/payments"
    assert chain_of(acme, "boundary/payments")["anchored"] is None
    size_before = chain_of(acme, "boundary/payments")["size"]
    assert report(agent, first.size, first.root, "s3://bucket/first").status_code == 204
    assert [c.size for c in offered(agent, control_plane_key)] == [second.size]
    chain = chain_of(acme, "boundary/payments")
    assert chain["anchored"]["size"] == first.size
    assert chain["checkpoint"]["size"] == second.size
    # Anchoring makes no event: the chain would never come to rest.
    assert chain["size"] == size_before
    listed = acme("omar").get("/v1/audit/checkpoints?chain=boundary/payments").json()
    assert [c["anchored_as"] for c in listed["checkpoints"]] == ["s3://bucket/first", None]


def test_the_first_report_of_a_checkpoint_stays(
    acme: PersonOf,
    boundary: Boundary,  # noqa: F811
    agent: AgentClient,  # noqa: F811
    control_plane_key: Ed25519PrivateKey,
) -> None:
    grow(boundary, control_plane_key)
    (checkpoint,) = offered(agent, control_plane_key)
    for location in ("s3://bucket/first", "s3://bucket/second"):
        assert report(agent, checkpoint.size, checkpoint.root, location).status_code == 204
    listed = acme("omar").get("/v1/audit/checkpoints?chain=boundary/payments").json()
    assert [c["anchored_as"] for c in listed["checkpoints"]] == ["s3://bucket/first"]


def test_a_report_of_what_was_never_signed_is_a_conflict(
    boundary: Boundary,  # noqa: F811
    agent: AgentClient,  # noqa: F811
    control_plane_key: Ed25519PrivateKey,
) -> None:
    grow(boundary, control_plane_key)
    (checkpoint,) = offered(agent, control_plane_key)
    for size, root in ((checkpoint.size, "sha256:" + "a" * 64), (999, checkpoint.root)):
        answer = report(agent, size, root)
        assert answer.status_code == 409
        assert answer.json()["error"]["code"] == "unknown-checkpoint"
    assert agent.call("POST", ROUTE, {"size": 0}).status_code == 400


def test_an_agent_sees_no_other_chain(
    acme: PersonOf,
    boundary: Boundary,  # noqa: F811
    agent: AgentClient,  # noqa: F811
    control_plane_key: Ed25519PrivateKey,
) -> None:
    for name in ("boundary/research", "organization/acme"):
        chain = chain_of(acme, name)
        research = name.startswith("boundary/")
        sign_checkpoint(
            boundary.worker,
            Key(control_plane_key),
            chain_id=chain["chain_id"],
            organization_id=str(boundary.organization_id),
            boundary_id=chain["chain_id"] if research else None,
        )
        signed = chain_of(acme, name)["checkpoint"]
        assert UUID(chain["chain_id"]) != boundary.boundary_id
        assert offered(agent, control_plane_key) == []
        assert report(agent, signed["size"], signed["root"]).status_code == 409
