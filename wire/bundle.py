"""The desired state of one boundary, as the agent pulls it, and the two narrowing verbs.

Written by the control plane's worker, countersigned by the customer's countersigner, applied by
the agent. The vocabulary is closed: `wire.resources` holds the only kinds a bundle may carry, and
a verb can only narrow (decision 4), so it needs no customer signature.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from pydantic import Field

from wire.envelope import Envelope
from wire.version import Document, Message

BUNDLE_TYPE = "application/vnd.ringfence.bundle+json"
VERB_TYPE = "application/vnd.ringfence.verb+json"

BundleKind = Literal[
    "SecurityBoundary", "ModelArtifact", "ModelInstance", "AdapterBinding", "GatewayAccess"
]


class DesiredResource(Document):
    """One custom resource of the closed vocabulary; `spec` is checked against `wire.resources`."""

    kind: BundleKind
    name: str = Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
    spec: dict[str, Any]


class Bundle(Message):
    """The whole desired state of a boundary; what is missing from it is to be removed."""

    SCHEMA: ClassVar[str] = "ringfence.bundle"

    organization_id: UUID
    boundary_id: UUID
    boundary_name: str
    sequence: int = Field(ge=1)
    """Rises by one per boundary; the agent refuses anything not above what it applied."""
    issued_at: datetime
    resources: tuple[DesiredResource, ...] = Field(max_length=2000)


class CloseVerb(Document):
    """Put role `role_name` (grant number `grant_number`) away for good, by the closer role."""

    kind: Literal["close"] = "close"
    grant_number: int = Field(ge=1)
    role_name: str = Field(pattern=r"^ringfence-[a-z0-9-]+-g[1-9][0-9]*$")


class CountersignVerb(Document):
    """Check the certificate against what the agent saw itself, and countersign it."""

    kind: Literal["countersign"] = "countersign"
    certificate: Envelope


class Verb(Message):
    """One narrowing command, signed by the control plane."""

    SCHEMA: ClassVar[str] = "ringfence.verb"

    id: UUID
    boundary_id: UUID
    issued_at: datetime
    action: Annotated[CloseVerb | CountersignVerb, Field(discriminator="kind")]


class CountersignRequest(Message):
    """What the worker asks the customer's countersigner: look at this and sign it, or say why not.

    The answer is the same envelope with the customer's signature added, or a `Refusal`.
    """

    SCHEMA: ClassVar[str] = "ringfence.countersign-request"

    envelope: Envelope


class Refusal(Document):
    """Why a signed document was not accepted; `code` is stable, `reason` is for people."""

    code: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    reason: str = Field(max_length=2000)
