"""The narrowing verbs: the agent closes only its boundary's role and signs only what it saw."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.bundles import Trust
from agent.verbs import close, countersign_certificate
from proof.dsse import open_envelope, seal
from wire.agent import AgentStatus, CloseReport, VerbResult
from wire.bundle import CloseVerb, CountersignVerb, Verb
from wire.certificate import CERTIFICATE_TYPE, AccessEnd, InstallCertificate

VENDOR = Ed25519PrivateKey.generate()
AGENT = Ed25519PrivateKey.generate()
BOUNDARY = uuid4()
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DIGEST = "sha256:" + "a" * 64
ROLE = "ringfence-payments-g1"
TRUST = Trust(VENDOR.public_key(), AGENT.public_key(), BOUNDARY, "payments", "boundary-payments")
STATUS = AgentStatus(
    agent_version="0.1.0",
    applied_sequence=1,
    refused=None,
    gateway_url=None,
    resources=(),
    smoke=(),
    verified_artifacts={"tiny-coder": DIGEST},
    observed_at=NOW,
)
CLOSED = {
    ROLE: CloseReport(role_name=ROLE, detached=(), role_deleted=True, role_absent_at=NOW),
}


class RecordingCloud:
    """Stands for the closer role's client; records what it was asked to delete."""

    def __init__(self) -> None:
        self.deleted: list[str] = []

    def delete_role(self, role_name: str) -> CloseReport:
        self.deleted.append(role_name)
        return CLOSED[ROLE].model_copy(update={"role_name": role_name})


def verb(action: CloseVerb | CountersignVerb) -> Verb:
    return Verb(id=uuid4(), boundary_id=BOUNDARY, issued_at=NOW, action=action)


@pytest.mark.parametrize(
    "role", ["ringfence-research-g1", "ringfence-payments-g2", "ringfence-payments-closer-g1"]
)
def test_a_role_that_is_not_this_grants_is_left_alone(role: str) -> None:
    cloud: Any = RecordingCloud()
    action = CloseVerb(grant_number=1, role_name=role)
    result = close(verb(action), action, TRUST, cloud)
    assert result.refused is not None
    assert result.refused.code == "foreign-role"
    assert cloud.deleted == []


def test_the_grants_own_role_is_deleted() -> None:
    cloud: Any = RecordingCloud()
    action = CloseVerb(grant_number=1, role_name=ROLE)
    assert close(verb(action), action, TRUST, cloud).close == CLOSED[ROLE]
    assert cloud.deleted == [ROLE]


def certificate(**changes: Any) -> InstallCertificate:
    access = AccessEnd(
        role_arn=f"arn:aws:iam::111122223333:role/{ROLE}",
        grant_number=1,
        grant_until=NOW,
        closed_by="agent",
        way_in_closed_at=NOW,
        power_removed_at=NOW,
        role_deleted_at=NOW,
        proofs=(),
    )
    fields: dict[str, Any] = {
        "operation": "provision",
        "id": uuid4(),
        "organization": "acme",
        "organization_id": uuid4(),
        "boundary": "payments",
        "boundary_id": BOUNDARY,
        "install_id": uuid4(),
        "run_id": uuid4(),
        "blueprint": "eks-model-stack",
        "blueprint_version": "0.1.0",
        "blueprint_digest": DIGEST,
        "plan_digest": DIGEST,
        "artifact_digests": {"tiny-coder": DIGEST},
        "image_digests": {},
        "started_at": NOW,
        "finished_at": NOW,
        "time_scale": 0.01,
        "emulated": True,
        "steps": (),
        "critical_path": (),
        "outcome": "succeeded",
        "permissions_granted": 1,
        "permissions_used": None,
        "smoke": (),
        "residue": (),
        "access": access,
        "pins": {},
        "issued_at": NOW,
    }
    return InstallCertificate(**{**fields, **changes})


def ask(document: InstallCertificate, closed: dict[str, CloseReport] | None = None) -> VerbResult:
    action = CountersignVerb(certificate=seal(VENDOR, CERTIFICATE_TYPE, document.to_wire()))
    seen = CLOSED if closed is None else closed
    return countersign_certificate(verb(action), action, TRUST, AGENT, STATUS, seen)


def test_a_true_certificate_is_countersigned() -> None:
    result = ask(certificate())
    assert result.certificate is not None
    keys = {"control plane": VENDOR.public_key(), "agent": AGENT.public_key()}
    assert open_envelope(result.certificate, CERTIFICATE_TYPE, keys)["boundary"] == "payments"


def test_a_certificate_with_another_digest_than_the_boundary_verified_is_refused() -> None:
    result = ask(certificate(artifact_digests={"tiny-coder": "sha256:" + "b" * 64}))
    assert result.refused is not None
    assert "the boundary verified" in result.refused.reason


def test_a_certificate_that_claims_a_close_this_agent_did_not_do_is_refused() -> None:
    result = ask(certificate(), closed={})
    assert result.refused is not None
    assert result.refused.code == "contradiction"


def test_a_certificate_of_another_boundary_is_refused() -> None:
    result = ask(certificate(boundary_id=uuid4(), boundary="research"))
    assert result.refused is not None
    assert result.refused.reason == "it is for boundary research"
