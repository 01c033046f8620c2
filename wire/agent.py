"""What the in-boundary agent and the control plane say to each other.

The agent dials out: enrols once with a one-time token, then long-polls its desired state and
pushes status and usage. Every request after enrolment is signed with the agent's own key
(`proof.request_signing`). Roll-ups and events of usage are in `wire.usage`.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar
from uuid import UUID

from pydantic import Field

from wire.bundle import Refusal
from wire.envelope import Envelope
from wire.version import Document, Message


class EnrolRequest(Message):
    """The first message: proves the one-time token, hands over the agent's public key."""

    SCHEMA: ClassVar[str] = "ringfence.enrol-request"

    token: str = Field(min_length=40, max_length=200, repr=False)
    public_key: str = Field(max_length=200)
    """Ed25519, raw 32 bytes, base64. The private half never leaves the agent's volume."""
    proof_of_possession: str = Field(max_length=200)
    """Signature by the private half over the SHA-256 of the token, base64."""
    agent_version: str = Field(max_length=50)


class EnrolResponse(Message):
    """Who the agent is from now on, and the key it must trust (checked against its pins)."""

    SCHEMA: ClassVar[str] = "ringfence.enrol-response"

    agent_id: UUID
    organization_id: UUID
    boundary_id: UUID
    boundary_name: str
    control_plane_public_key: str
    poll_seconds: int = Field(ge=1, le=300)


class DesiredState(Message):
    """Answer to a poll: a bundle newer than the agent's, and verbs it has not reported on."""

    SCHEMA: ClassVar[str] = "ringfence.desired-state"

    bundle: Envelope | None
    verbs: tuple[Envelope, ...] = Field(max_length=20)


class ResourceReport(Document):
    """The summary condition of one custom resource, as its controller wrote it."""

    kind: str
    name: str
    ready: bool
    reason: str = Field(max_length=100)
    message: str = Field(max_length=1000)
    observed_generation: int
    generation: int


class SmokeReport(Document):
    """One real completion that an instance answered after it became ready."""

    instance: str
    model: str
    output_tokens: int = Field(ge=0)
    ttft_ms: float = Field(ge=0)


class AgentStatus(Message):
    """What runs in the boundary now. No names of people, no content."""

    SCHEMA: ClassVar[str] = "ringfence.agent-status"

    agent_version: str = Field(max_length=50)
    applied_sequence: int = Field(ge=0)
    """Sequence of the last bundle that was verified and written; 0 before the first."""
    refused: Refusal | None
    """Why the newest bundle was not applied; None when it was."""
    gateway_url: str | None
    resources: tuple[ResourceReport, ...] = Field(max_length=5000)
    smoke: tuple[SmokeReport, ...] = Field(max_length=1000)
    verified_artifacts: dict[str, str] = Field(default_factory=dict, max_length=1000)
    """Artifact name -> sha256 digest that the boundary computed itself over what it fetched."""
    observed_at: datetime


class DeniedAttempt(Document):
    """One call that had to be denied: which, what the other side said, when it first was."""

    action: str = Field(max_length=100)
    error_code: str = Field(max_length=100)
    succeeded_before: bool
    """True when the same call with the same session succeeded just before the close."""
    denied_at: datetime
    attempts: int = Field(ge=1)


class CloseReport(Document):
    """What the closer did with role `role_name`, read back from IAM."""

    role_name: str
    detached: tuple[str, ...]
    role_deleted: bool
    role_absent_at: datetime | None
    """When GetRole first answered NoSuchEntity; None when the role was still there."""


class VerbResult(Message):
    """The agent's answer to one verb: exactly one of the three is set."""

    SCHEMA: ClassVar[str] = "ringfence.verb-result"

    verb_id: UUID
    close: CloseReport | None = None
    certificate: Envelope | None = None
    """The certificate's envelope with the agent's signature added."""
    refused: Refusal | None = None
