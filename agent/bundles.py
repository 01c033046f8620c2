"""Decide whether a bundle may be applied: pure, no I/O.

Called by `agent.desired` with what came over the wire. Everything here can only refuse: signatures
of both keys, this boundary and no other, a sequence that rises, and the closed vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import ValidationError

from proof.dsse import SignatureError, open_envelope
from wire.bundle import BUNDLE_TYPE, VERB_TYPE, Bundle, Refusal, Verb
from wire.envelope import Envelope
from wire.resources import KINDS, InvalidResourceError, Spec, parse_spec


@dataclass(frozen=True)
class Trust:
    """Whom the agent believes, and about which boundary."""

    control_plane: Ed25519PublicKey
    customer: Ed25519PublicKey
    boundary_id: UUID
    boundary_name: str
    namespace: str


@dataclass(frozen=True)
class Accepted:
    """A bundle that passed: its typed resources in the order in which they can be applied."""

    bundle: Bundle
    resources: tuple[tuple[str, str, Spec], ...]
    """(kind, name, spec)"""


def accept_bundle(envelope: Envelope, trust: Trust, applied_sequence: int) -> Accepted | Refusal:
    """Return the bundle's resources, or why nothing of it is applied."""
    keys = {"control plane": trust.control_plane, "customer": trust.customer}
    try:
        bundle = Bundle.from_wire(open_envelope(envelope, BUNDLE_TYPE, keys))
    except SignatureError as error:
        return Refusal(code=error.code, reason=str(error))
    except ValidationError as error:
        text = "; ".join(
            f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}"
            for e in error.errors(include_input=False, include_url=False)
        )
        return Refusal(code="outside-vocabulary", reason=text[:2000])
    if (bundle.boundary_id, bundle.boundary_name) != (trust.boundary_id, trust.boundary_name):
        return Refusal(
            code="foreign-boundary",
            reason=f"the bundle is for boundary {bundle.boundary_name} ({bundle.boundary_id}), "
            f"this is {trust.boundary_name} ({trust.boundary_id})",
        )
    if bundle.sequence <= applied_sequence:
        return Refusal(
            code="old-sequence",
            reason=f"sequence {bundle.sequence} is not above {applied_sequence}, already applied",
        )
    return _parse_resources(bundle, trust)


def _parse_resources(bundle: Bundle, trust: Trust) -> Accepted | Refusal:
    parsed: list[tuple[str, str, Spec]] = []
    seen: set[tuple[str, str]] = set()
    for resource in bundle.resources:
        where = (resource.kind, resource.name)
        if where in seen:
            return Refusal(code="duplicate", reason=f"{resource.kind}/{resource.name} stands twice")
        seen.add(where)
        try:
            spec = parse_spec(resource.kind, resource.spec)
        except InvalidResourceError as error:
            return Refusal(code="outside-vocabulary", reason=f"{resource.name}: {error}"[:2000])
        # The one cluster-scoped kind could otherwise name a namespace that is not the boundary's.
        if getattr(spec, "namespace", trust.namespace) != trust.namespace:
            return Refusal(
                code="foreign-namespace",
                reason=f"{resource.kind}/{resource.name} names a namespace other than "
                f"{trust.namespace}",
            )
        if resource.kind == "SecurityBoundary" and resource.name != trust.boundary_name:
            return Refusal(
                code="foreign-boundary",
                reason=f"SecurityBoundary/{resource.name} is not {trust.boundary_name}",
            )
        parsed.append((resource.kind, resource.name, spec))
    order = list(KINDS)
    parsed.sort(key=lambda item: order.index(item[0]))
    return Accepted(bundle, tuple(parsed))


def accept_verb(envelope: Envelope, trust: Trust) -> Verb | Refusal:
    """Return the verb, or why it is refused. A verb can only narrow: the vendor's key suffices."""
    try:
        verb = Verb.from_wire(
            open_envelope(envelope, VERB_TYPE, {"control plane": trust.control_plane})
        )
    except SignatureError as error:
        return Refusal(code=error.code, reason=str(error))
    except ValidationError:
        return Refusal(code="outside-vocabulary", reason="the verb is not close or countersign")
    if verb.boundary_id != trust.boundary_id:
        return Refusal(code="foreign-boundary", reason=f"the verb is for {verb.boundary_id}")
    return verb
