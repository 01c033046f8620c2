"""Carry out the narrowing verbs: `close` and `countersign`.

Called by `agent.desired`. Each verb is done once; its answer is kept on the agent's volume and
sent again when the control plane asks again.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import ValidationError

from agent.bundles import Trust
from agent.cloud import Cloud, CloudError
from proof.dsse import SignatureError, countersign, open_envelope
from wire.agent import AgentStatus, CloseReport, VerbResult
from wire.bundle import CloseVerb, CountersignVerb, Refusal, Verb
from wire.certificate import CERTIFICATE_TYPE, InstallCertificate


def close(verb: Verb, action: CloseVerb, trust: Trust, cloud: Cloud) -> VerbResult:
    """Delete the vendor's role of one grant, by the closer role."""
    expected = f"ringfence-{trust.boundary_name}-g{action.grant_number}"
    if action.role_name != expected:
        return _refused(verb, "foreign-role", f"{action.role_name} is not {expected}")
    try:
        return VerbResult(verb_id=verb.id, close=cloud.delete_role(action.role_name))
    except CloudError as error:
        return _refused(verb, "cloud-error", str(error))


def countersign_certificate(
    verb: Verb,
    action: CountersignVerb,
    trust: Trust,
    key: Ed25519PrivateKey,
    status: AgentStatus,
    closed: dict[str, CloseReport],
) -> VerbResult:
    """Sign the certificate once it says nothing that this agent has seen otherwise.

    `closed` maps role names to what this agent reported about closing them.
    """
    try:
        document = open_envelope(
            action.certificate, CERTIFICATE_TYPE, {"control plane": trust.control_plane}
        )
        certificate = InstallCertificate.from_wire(document)
    except SignatureError as error:
        return _refused(verb, error.code, str(error))
    except ValidationError as error:
        return _refused(verb, "invalid-certificate", f"{error.error_count()} fields are wrong")
    problem = contradiction(certificate, trust, status, closed)
    if problem:
        return _refused(verb, "contradiction", problem)
    return VerbResult(verb_id=verb.id, certificate=countersign(action.certificate, key))


def contradiction(
    certificate: InstallCertificate,
    trust: Trust,
    status: AgentStatus,
    closed: dict[str, CloseReport],
) -> str | None:
    """Return what in the certificate differs from what the boundary itself observed, or None."""
    if (certificate.boundary_id, certificate.boundary) != (trust.boundary_id, trust.boundary_name):
        return f"it is for boundary {certificate.boundary}"
    for name, digest in certificate.artifact_digests.items():
        seen = status.verified_artifacts.get(name)
        if seen != digest:
            return f"artifact {name}: the certificate says {digest}, the boundary verified {seen}"
    if certificate.access.closed_by == "agent":
        role = certificate.access.role_arn.rsplit("/", 1)[-1]
        report = closed.get(role)
        if report is None or not report.role_deleted:
            return f"it says that this agent deleted role {role}, which it did not"
        if certificate.access.role_deleted_at != report.role_absent_at:
            return f"it gives another time for the end of role {role}"
    return None


def _refused(verb: Verb, code: str, reason: str) -> VerbResult:
    return VerbResult(verb_id=verb.id, refused=Refusal(code=code, reason=reason[:2000]))
