"""Decide whether the customer signs a bundle: pure, no I/O.

Called by `countersigner.service` after the vendor's signature was verified. The customer's own
allow-list names the image references and artifact digests that may run in each boundary.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from wire.bundle import Bundle, Refusal
from wire.resources import (
    InvalidResourceError,
    ModelArtifactSpec,
    ModelInstanceSpec,
    parse_spec,
)
from wire.version import Document


class BoundaryPolicy(Document):
    """What one boundary's customer allows; written by the customer, never by the vendor."""

    approval: Literal["auto", "manual"] = "auto"
    """`manual` leaves a bundle waiting until its digest stands in `approved`."""
    artifacts: frozenset[str] = Field(default=frozenset())
    """Digests `sha256:<hex>` of weights that may be served."""
    images: frozenset[str] = Field(default=frozenset())
    """Image references with digest that may run."""
    own_registry: str | None = None
    """Where copies of those images lie in the customer's account, `<registry>/ringfence/<name>`: a
    copy may run from there under the same name and digest."""
    approved: frozenset[str] = Field(default=frozenset())


def judge(
    bundle: Bundle, bundle_digest: str, policy: BoundaryPolicy | None, last_sequence: int
) -> Refusal | None:
    """Return why the customer does not sign this bundle, or None when it does.

    `last_sequence` is that of the last bundle signed for the boundary; 0 before the first.
    """
    if policy is None:
        return Refusal(
            code="unknown-boundary",
            reason=f"boundary {bundle.boundary_name} is not in the customer's policy",
        )
    if bundle.sequence <= last_sequence:
        return Refusal(
            code="old-sequence",
            reason=f"sequence {bundle.sequence} is not above {last_sequence}, already signed",
        )
    if policy.approval == "manual" and bundle_digest not in policy.approved:
        return Refusal(
            code="awaiting-approval",
            reason=f"the customer approves by hand; add {bundle_digest} to `approved`",
        )
    return _judge_resources(bundle, policy)


def _judge_resources(bundle: Bundle, policy: BoundaryPolicy) -> Refusal | None:
    for resource in bundle.resources:
        where = f"{resource.kind}/{resource.name}"
        try:
            spec = parse_spec(resource.kind, resource.spec)
        except InvalidResourceError as error:
            return Refusal(code="outside-vocabulary", reason=f"{where}: {error}"[:2000])
        if isinstance(spec, ModelArtifactSpec) and spec.digest not in policy.artifacts:
            return Refusal(
                code="artifact-not-allowed",
                reason=f"{where}: {spec.digest} is not in the customer's list of artifacts",
            )
        if isinstance(spec, ModelInstanceSpec) and not _allows(policy, spec.engine.image):
            return Refusal(
                code="image-not-allowed",
                reason=f"{where}: {spec.engine.image} is not in the customer's list of images",
            )
    return None


def _allows(policy: BoundaryPolicy, image: str) -> bool:
    """Say whether an image may run: a listed one, or its copy in the customer's own registry."""
    if image in policy.images:
        return True
    if policy.own_registry is None:
        return False
    return image in {_copy(policy.own_registry, listed) for listed in policy.images}


def _copy(registry: str, listed: str) -> str:
    """Return how the copy of a listed image is named: a repository for each, the same digest."""
    name, _, digest = listed.rpartition("@")
    return f"{registry}/{name.rpartition('/')[2]}@{digest}"


class PolicyFile(Document):
    """The customer's file: which vendor key to accept, and a policy per boundary name.

    By name, since the name is what the customer gave; the agent checks id and name together.
    """

    control_plane_public_key: str
    boundaries: dict[str, BoundaryPolicy]
