"""What all custom resources share: naming rules, value types, conditions and the kind itself.

Used by the modules of this package only; others import `wire.resources`. Field names are
snake_case here and camelCase in Kubernetes, by alias.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, ConfigDict, Field
from pydantic.alias_generators import to_camel

from wire.version import Document

GROUP = "ringfence.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

DNS_LABEL = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"

ObjectName = Annotated[str, Field(min_length=1, max_length=63, pattern=DNS_LABEL)]
"""A name that may also be part of child names: RFC 1123 label."""
Digest = Annotated[str, Field(max_length=71, pattern=r"^sha256:[0-9a-f]{64}$")]
"""A content digest, lower case."""
ImageReference = Annotated[
    str, Field(max_length=400, pattern=r"^[a-z0-9][A-Za-z0-9._/:-]*@sha256:[0-9a-f]{64}$")
]
"""An image by digest; a tag alone may change under us and is refused."""
Quantity = Annotated[
    str, Field(max_length=20, pattern=r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$")
]
"""A Kubernetes quantity without sign and exponent: `500m`, `2Gi`."""
ModelName = Annotated[
    str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$")
]
"""A name that callers put into `model` of a request."""
LabelKey = Annotated[
    str, Field(max_length=253, pattern=r"^([a-z0-9.-]+/)?[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$")
]
LabelValue = Annotated[
    str, Field(max_length=63, pattern=r"^([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?$")
]
Labels = Annotated[dict[LabelKey, LabelValue], Field(max_length=20)]

Port = Annotated[int, Field(ge=1, le=65535)]


class ResourcePart(Document):
    """A part of a custom resource; camelCase by alias, as in Kubernetes."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=to_camel,
        populate_by_name=True,
        use_attribute_docstrings=True,
    )

    def to_kubernetes(self) -> dict[str, Any]:
        """Return the JSON form: camelCase, unset optional fields left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class Spec(ResourcePart):
    """What is wanted; the base of every `spec`."""


class LocalRef(ResourcePart):
    """A resource in the same namespace: there are no references across namespaces."""

    name: ObjectName
    """Name of the resource."""


class Condition(ResourcePart):
    """One observed fact, written by exactly one controller."""

    type: Annotated[str, Field(max_length=60, pattern=r"^[A-Z][A-Za-z0-9]*$")]
    """What the condition is about; `Ready` is the summary of each kind."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds; Unknown until it was observed."""
    reason: Annotated[str, Field(min_length=1, max_length=100)]
    """Why, from the documented list of the kind."""
    message: Annotated[str, Field(max_length=1000)] = ""
    """For people: names the thing and, when something is wrong, the fix."""
    last_transition_time: AwareDatetime
    """When `status` last changed, in UTC."""
    observed_generation: Annotated[int, Field(ge=0)]
    """The `metadata.generation` this was observed for."""


class Status(ResourcePart):
    """What was observed; the base of every `status`."""

    observed_generation: Annotated[int, Field(ge=0)] = 0
    """The `metadata.generation` the controller last acted on."""
    conditions: Annotated[
        tuple[Condition, ...],
        Field(
            max_length=16,
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
            },
        ),
    ] = ()
    """The facts, one per type."""

    def condition(self, type_: str) -> Condition | None:
        """Return the condition of that type, or None before it was observed."""
        return next((c for c in self.conditions if c.type == type_), None)


@dataclass(frozen=True)
class Column:
    """One column of `kubectl get`."""

    name: str
    path: str
    type: Literal["string", "integer", "date"] = "string"


READY_COLUMNS = (
    Column("Ready", '.status.conditions[?(@.type=="Ready")].status'),
    Column("Reason", '.status.conditions[?(@.type=="Ready")].reason'),
)
AGE_COLUMN = Column("Age", ".metadata.creationTimestamp", "date")


@dataclass(frozen=True)
class ResourceKind:
    """One kind of the closed vocabulary: its models and its names in the API."""

    kind: str
    plural: str
    short_name: str
    namespaced: bool
    spec: type[Spec]
    status: type[Status]
    reasons: tuple[str, ...]
    """Every reason its conditions may carry."""
    conditions: dict[str, str] = field(hash=False)
    """Every condition type, `Ready` first, with the exact rule for True."""
    columns: tuple[Column, ...]
    api_version: str = field(default=API_VERSION)

    @property
    def condition_types(self) -> tuple[str, ...]:
        return tuple(self.conditions)

    def path(self, namespace: str | None, name: str | None = None) -> str:
        """Return the API path of the collection, or of one object when it is named.

        `namespace` is ignored for a cluster-scoped kind; None means all namespaces.
        """
        parts = ["/apis", self.api_version]
        if self.namespaced and namespace is not None:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        if name is not None:
            parts.append(name)
        return "/".join(parts)

    def manifest(self, name: str, namespace: str | None, spec: Spec) -> dict[str, Any]:
        """Return the object to apply."""
        metadata: dict[str, Any] = {"name": name}
        if self.namespaced:
            if namespace is None:
                raise ValueError(f"{self.kind} {name}: a namespace is needed")
            metadata["namespace"] = namespace
        return {
            "apiVersion": self.api_version,
            "kind": self.kind,
            "metadata": metadata,
            "spec": spec.to_kubernetes(),
        }


def rfc3339(moment: datetime) -> str:
    """Return a moment as Kubernetes writes it: UTC, whole seconds, `Z`."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
