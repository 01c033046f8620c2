"""The certificates: the signed records at the end of an install and at the end of its removal.

Written by the control plane from its rows and the agent's reports, signed by the control-plane
key, countersigned by the agent, verified offline by `ringfence certificate verify`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Literal
from uuid import UUID

from pydantic import Field

from wire.agent import DeniedAttempt, SmokeReport
from wire.envelope import Envelope
from wire.version import Document, Record

CERTIFICATE_TYPE = "application/vnd.ringfence.install-certificate+json"
REMOVAL_TYPE = "application/vnd.ringfence.removal-certificate+json"


Operation = Literal["provision", "update", "restore"]


class StepTime(Document):
    """One step of the run: seconds measured against seconds budgeted."""

    key: str
    state: Literal["succeeded", "failed", "skipped", "not-attempted", "unwound"]
    seconds: float = Field(ge=0)
    budget_seconds: float = Field(ge=0)
    on_critical_path: bool


class ResidueItem(Document):
    """Something of ours that was found by the census; a finding is not expected."""

    kind: str
    name: str
    expected: bool
    reason: str


class WayInSeen(Document):
    """What was seen of the way into the cluster once it was shut, beside the refused calls."""

    way: Literal["public-cidr", "in-vpc-runner"]
    access_entries: int = Field(ge=0)
    """Of ours, and of our runner's role, that the cluster still has."""
    public_endpoint: bool | None = None
    """Whether the endpoint can be reached from outside; None in another boundary's cluster, whose
    endpoint is not ours to open or to shut."""
    endpoint_changes: int | None = Field(default=None, ge=0)
    """How often the access to the endpoint was changed since the cluster was made, by EKS's own
    list; 0 with a private endpoint: it never was public. None where it was opened on purpose."""
    running_tasks: int | None = Field(default=None, ge=0)
    """Runners of the boundary that have not ended; None where there was none to start."""
    objects_deleted: int | None = Field(default=None, ge=0)
    """Of the runner's mailbox, every version of an object counted."""


class AccessEnd(Document):
    """When and by whom the vendor's access ended, and the attempts that prove it."""

    role_arn: str
    grant_number: int = Field(ge=1)
    grant_until: datetime
    closed_by: Literal["agent", "customer", "expiry"]
    way_in_closed_at: datetime | None
    power_removed_at: datetime | None
    role_deleted_at: datetime | None
    proofs: tuple[DeniedAttempt, ...]
    way_in: WayInSeen | None = None
    """None when there was no cluster, and in certificates of before it was kept."""


class InstallCertificate(Record):
    """What was installed, in which time, with which permissions, and that access has ended."""

    SCHEMA: ClassVar[str] = "ringfence.install-certificate"
    VERSION: ClassVar[int] = 3

    operation: Operation
    """What the run was for; until version 1 every certificate was of a provision."""
    id: UUID
    organization: str
    organization_id: UUID
    boundary: str
    boundary_id: UUID
    install_id: UUID
    run_id: UUID
    blueprint: str
    blueprint_version: str
    blueprint_digest: str
    outcome: Literal["succeeded", "kept", "unwound", "cancelled", "failed"]
    """How the run ended. `kept`: cancelled half-way, what existed by then stays. For the last three
    this is a record of failure and of the end of access; of a provision nothing is left then, an
    update or a restore leaves what stood before, changed as far as it came."""
    plan_digest: str | None
    """Digest of the approved constraint; None when the run ended before there was one."""
    artifact_digests: dict[str, str]
    """Artifact name -> sha256 digest, as verified inside the boundary."""
    image_digests: dict[str, str]
    started_at: datetime
    finished_at: datetime
    cluster: str | None = None
    """The Kubernetes cluster that it lives in; None in a certificate of before it was named."""
    host: str | None = None
    """The boundary whose cluster that is; None: its own."""
    time_scale: float = Field(gt=0)
    """Scale of the emulated cloud's latencies; 1 for a real account."""
    emulated: bool
    """True when the account was the rehearsal account: no claim about AWS rests on it."""
    steps: tuple[StepTime, ...]
    critical_path: tuple[str, ...]
    permissions_granted: int = Field(ge=0)
    permissions_used: int | None
    """Distinct actions seen in use; None when the trail was not readable."""
    smoke: tuple[SmokeReport, ...]
    residue: tuple[ResidueItem, ...]
    access: AccessEnd
    pins: dict[str, str]
    """Fingerprints that the customer's template pins, as read back from the closer role's tags."""
    issued_at: datetime

    @classmethod
    def upgrade(cls, raw: dict[str, Any]) -> dict[str, Any]:
        """Return it as one of the version after it: 2 has the operation, 3 the way in."""
        return {"operation": "provision", **raw} if raw["version"] == 1 else raw


class RemovedResource(Document):
    """One object of the cloud that the run destroyed, as the engine's state knew it."""

    stack: str
    type: str
    name: str
    """The name in the blueprint."""
    id: str
    """The cloud's own id."""


class RetainedResource(Document):
    """One object that stays in the customer's account on purpose."""

    stack: str
    type: str
    name: str
    id: str
    reason: str


class RemovalCertificate(Record):
    """What was removed from the account, what stays and why, and that access has ended."""

    SCHEMA: ClassVar[str] = "ringfence.removal-certificate"
    VERSION: ClassVar[int] = 2

    id: UUID
    organization: str
    organization_id: UUID
    boundary: str
    boundary_id: UUID
    install_id: UUID
    run_id: UUID
    blueprint: str
    blueprint_version: str
    blueprint_digest: str
    outcome: Literal["removed", "purged", "cancelled", "failed"]
    """`cancelled`: nothing was touched, or the removal was stopped on the way; `failed`: it could
    not be finished. Then `removed` is empty and the install is as its page shows it."""
    reason: str
    """Why it was to be removed, in the words of the person who asked."""
    plan_digest: str | None
    """Digest of the approved list; None when the run ended before there was one."""
    removed: tuple[RemovedResource, ...]
    retained: tuple[RetainedResource, ...]
    cluster: Literal["opened", "lost", "absent", "untouched"]
    """`lost`: it did not answer and was destroyed from outside, with all that ran in it;
    `absent`: it was gone already."""
    started_at: datetime
    finished_at: datetime
    time_scale: float = Field(gt=0)
    emulated: bool
    steps: tuple[StepTime, ...]
    critical_path: tuple[str, ...]
    residue: tuple[ResidueItem, ...]
    """All of the boundary that the account still holds; expected are what is retained and the
    grant's own role."""
    access: AccessEnd
    pins: dict[str, str]
    issued_at: datetime

    @classmethod
    def upgrade(cls, raw: dict[str, Any]) -> dict[str, Any]:
        """Return a certificate of version 1 as one of version 2, which has the way in."""
        return raw


class CertificateFile(Record):
    """A certificate as it is handed out: the envelope, and the public keys that signed it.

    The keys are only carried here; whether they are to be trusted is decided by the pins that the
    reader brings (the customer's template for ours, the customer's bucket for the agent's).
    """

    SCHEMA: ClassVar[str] = "ringfence.certificate-file"

    envelope: Envelope
    keys: dict[str, str]
    """Fingerprint -> public key (base64)."""
