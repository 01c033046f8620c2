"""The custom resources of a boundary (`ringfence.dev/v1alpha1`): the closed vocabulary.

One source for the CRD YAML (`wire.crd`), for the bundles that the control plane builds, for what
the agent refuses and for what the operators act on. `parse_spec` is the gate: whatever it does not
accept may not enter a boundary.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from wire.resources.adapter_binding import (
    ADAPTER_BINDING,
    AdapterBindingSpec,
    AdapterBindingStatus,
    BindingReason,
)
from wire.resources.base import (
    API_VERSION,
    GROUP,
    VERSION,
    Condition,
    LocalRef,
    ResourceKind,
    Spec,
    Status,
)
from wire.resources.gateway_access import (
    GATEWAY_ACCESS,
    AccessGroup,
    AccessKey,
    AccessReason,
    GatewayAccessSpec,
    GatewayAccessStatus,
)
from wire.resources.model_artifact import (
    MODEL_ARTIFACT,
    ArtifactReason,
    ArtifactSource,
    ModelArtifactSpec,
    ModelArtifactStatus,
    S3Source,
)
from wire.resources.model_instance import (
    MODEL_INSTANCE,
    AdapterCount,
    InstanceEngine,
    InstanceFailure,
    InstanceProfile,
    InstanceReason,
    InstanceScaling,
    InstanceServing,
    ModelInstanceSpec,
    ModelInstanceStatus,
    SmokeResult,
)
from wire.resources.security_boundary import (
    SECURITY_BOUNDARY,
    ArtifactPolicy,
    BoundaryNetwork,
    BoundaryQuota,
    BoundaryReason,
    NetworkPort,
    NetworkRule,
    SecurityBoundarySpec,
    SecurityBoundaryStatus,
)

KINDS: dict[str, ResourceKind] = {
    kind.kind: kind
    for kind in (SECURITY_BOUNDARY, MODEL_ARTIFACT, MODEL_INSTANCE, ADAPTER_BINDING, GATEWAY_ACCESS)
}
"""Every kind of the vocabulary by name, in the order in which they can be applied."""


class InvalidResourceError(ValueError):
    """A resource outside the vocabulary; `problems` names each field and what is wrong with it."""

    def __init__(self, kind: str, problems: tuple[str, ...]) -> None:
        super().__init__(f"{kind}: " + "; ".join(problems))
        self.kind = kind
        self.problems = problems


def parse_spec(kind: str, raw: object) -> Spec:
    """Return the typed spec of a resource of the vocabulary.

    Raises: InvalidResourceError when the kind is unknown or a field is not allowed.
    """
    known = KINDS.get(kind)
    if known is None:
        raise InvalidResourceError(kind, (f"unknown kind; known are {', '.join(KINDS)}",))
    try:
        return known.spec.model_validate(raw)
    except ValidationError as error:
        # The rejected value is left out: it may be anything that somebody put into a bundle.
        problems = tuple(
            f"spec{''.join(_step(part) for part in found['loc'])}: {found['msg']}"
            for found in error.errors(include_url=False, include_input=False)
        )
        raise InvalidResourceError(kind, problems) from None


def _step(part: Any) -> str:
    return f"[{part}]" if isinstance(part, int) else f".{part}"


__all__ = [
    "ADAPTER_BINDING",
    "API_VERSION",
    "GATEWAY_ACCESS",
    "GROUP",
    "KINDS",
    "MODEL_ARTIFACT",
    "MODEL_INSTANCE",
    "SECURITY_BOUNDARY",
    "VERSION",
    "AccessGroup",
    "AccessKey",
    "AccessReason",
    "AdapterBindingSpec",
    "AdapterBindingStatus",
    "AdapterCount",
    "ArtifactPolicy",
    "ArtifactReason",
    "ArtifactSource",
    "BindingReason",
    "BoundaryNetwork",
    "BoundaryQuota",
    "BoundaryReason",
    "Condition",
    "GatewayAccessSpec",
    "GatewayAccessStatus",
    "InstanceEngine",
    "InstanceFailure",
    "InstanceProfile",
    "InstanceReason",
    "InstanceScaling",
    "InstanceServing",
    "InvalidResourceError",
    "LocalRef",
    "ModelArtifactSpec",
    "ModelArtifactStatus",
    "ModelInstanceSpec",
    "ModelInstanceStatus",
    "NetworkPort",
    "NetworkRule",
    "ResourceKind",
    "S3Source",
    "SecurityBoundarySpec",
    "SecurityBoundaryStatus",
    "SmokeResult",
    "Spec",
    "Status",
    "parse_spec",
]
