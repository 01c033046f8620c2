"""What the control plane and the runner inside a boundary's network say to each other.

They never connect: each puts objects under one prefix of the boundary's own bucket. The runner says
hello with the keys it made at its start; the control plane gives signed orders of a closed
vocabulary; the runner signs an answer to each. What is secret in an order is sealed to the runner.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, ClassVar, Literal
from uuid import UUID

from pydantic import Field

from wire.takeover import SealedSecret
from wire.version import Document, Message

ORDER_TYPE = "application/vnd.ringfence.runner-order+json"
ANSWER_TYPE = "application/vnd.ringfence.runner-answer+json"
HELLO_HEADER = "x-ringfence-hello"
"""Signed with the call that proves the runner's role: the digest of what it says."""

MAX_DOCUMENT_BYTES = 1 << 20
_NAME = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
_DIGEST = r"^sha256:[0-9a-f]{64}$"
Outcome = Literal["done", "refused", "failed"]


class ClusterAddress(Document):
    """Where a cluster's API server is, and what a token for it is made of."""

    name: str = Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z_-]{0,99}$")
    """The cluster's name: a token is good for this one only."""
    endpoint: str = Field(pattern=r"^https://[A-Za-z0-9.-]+(:\d{1,5})?$")
    certificate_authority: str = Field(max_length=20_000)
    """Base64 of the PEM bundle, as EKS gives it."""


class AskCluster(Document):
    """Ask the cluster one question that needs a known caller, and tell what it said."""

    kind: Literal["ask-cluster"] = "ask-cluster"
    cluster: ClusterAddress
    namespace: str | None = Field(default=None, pattern=_NAME)
    """Ask about this namespace, for a caller with no right outside it; None asks about all."""


class InstallRelease(Document):
    """Install or upgrade a release of a chart that lies in the bucket."""

    kind: Literal["install-release"] = "install-release"
    cluster: ClusterAddress
    release: str = Field(pattern=_NAME)
    namespace: str = Field(pattern=_NAME)
    create_namespace: bool = True
    """False where the cluster's owner has made it, and whoever installs may not."""
    chart_digest: str = Field(pattern=_DIGEST)
    """Of the packed chart; its key in the bucket follows from it."""
    values: SealedSecret
    """The values as JSON: one of them is the agent's enrolment token."""


class UninstallRelease(Document):
    """Remove a release; done also when there is none."""

    kind: Literal["uninstall-release"] = "uninstall-release"
    cluster: ClusterAddress
    release: str = Field(pattern=_NAME)
    namespace: str = Field(pattern=_NAME)


class EmptyBoundary(Document):
    """Delete what a boundary has in a cluster that stays: its namespaces' contents, its one object.

    Not the namespaces and not what lets the caller in: both are the cluster's owner's.
    """

    kind: Literal["empty-boundary"] = "empty-boundary"
    cluster: ClusterAddress
    boundary: str = Field(pattern=_NAME)
    """Name of its SecurityBoundary."""
    namespaces: tuple[Annotated[str, Field(pattern=_NAME)], ...] = Field(min_length=1, max_length=2)


class ReadRelease(Document):
    """Tell what a release is at; nothing of its values."""

    kind: Literal["read-release"] = "read-release"
    cluster: ClusterAddress
    release: str = Field(pattern=_NAME)
    namespace: str = Field(pattern=_NAME)


class Stop(Document):
    """End the runner, in order."""

    kind: Literal["stop"] = "stop"


Action = Annotated[
    AskCluster | InstallRelease | UninstallRelease | EmptyBoundary | ReadRelease | Stop,
    Field(discriminator="kind"),
]


class RunnerOrder(Message):
    """One order, signed by the control-plane key."""

    SCHEMA: ClassVar[str] = "ringfence.runner-order"

    run_id: UUID
    mailbox: str
    """Which runner it is for: the prefix in the bucket that this one alone reads."""
    fence: int = Field(ge=1)
    """Of the worker that gives it; one that has lost its lease has a lower one."""
    sequence: int = Field(ge=1)
    """Rises by one with each order of a fence."""
    issued_at: datetime
    expires_at: datetime
    action: Action


class RunnerHello(Message):
    """Who has started: two public keys that live as long as the runner's process."""

    SCHEMA: ClassVar[str] = "ringfence.runner-hello"

    run_id: UUID
    mailbox: str
    sealing_key: str = Field(min_length=44, max_length=44)
    """X25519, raw 32 bytes in base64: what is secret is sealed to it."""
    signing_key: str = Field(min_length=44, max_length=44)
    """Ed25519, raw 32 bytes in base64: it signs the answers."""
    runner_version: str = Field(max_length=50)
    deadline: datetime
    """When this runner ends by itself, whatever it is told."""
    said_at: datetime


class ProvenHello(Message):
    """A hello and the proof of who says it: a signed `sts:GetCallerIdentity` nobody has sent yet.

    The digest of the hello is a signed header of that call, so the proof fits no other hello. Who
    checks it sends the call to STS itself, which answers with the role and the task.
    """

    SCHEMA: ClassVar[str] = "ringfence.runner-proven-hello"

    hello: RunnerHello
    host: str = Field(max_length=255)
    query: str = Field(max_length=8000, repr=False)


class ReleaseFacts(Document):
    """A release as the cluster has it."""

    name: str
    namespace: str
    revision: int
    status: str
    chart: str


class RunnerAnswer(Message):
    """What became of one order, signed by the runner's key."""

    SCHEMA: ClassVar[str] = "ringfence.runner-answer"

    run_id: UUID
    mailbox: str
    order: str
    """The name of the order's object."""
    order_digest: str = Field(pattern=_DIGEST)
    """SHA-256 of the order's bytes as they lay in the bucket."""
    outcome: Outcome
    code: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    """`done`, or why it was refused or failed."""
    reason: str = Field(default="", max_length=2000)
    found: int | str | None = None
    """What the cluster said: a status, or the name of what broke the connection."""
    release: ReleaseFacts | None = None
    existed: bool | None = None
    """Whether there was a release to remove."""
    finished_at: datetime


def order_name(fence: int, sequence: int) -> str:
    """Name the object of an order, and of its answer; names sort as orders follow each other."""
    return f"{fence:010d}-{sequence:06d}"


def run_prefix(run_id: UUID) -> str:
    """Return the prefix in the boundary's bucket under which a run and its runners write."""
    return f"runner/{run_id}/"


def chart_key(run_id: UUID, digest: str) -> str:
    """Return the key of a packed chart."""
    return f"{run_prefix(run_id)}charts/{digest.removeprefix('sha256:')}.tgz"
