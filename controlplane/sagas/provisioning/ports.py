"""The outside systems an install needs, as the steps see them.

Built by the worker's composition root from the adapters, and by tests from fakes. Separate so that
a step names what it needs and never how it is reached.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from controlplane.adapters.aws import (
    artifacts,
    census,
    checks,
    closing,
    inventory,
    preflight,
    registry,
    strays,
)
from controlplane.adapters.aws.account import Account
from controlplane.adapters.aws.sessions import Credentials, RoleSessions, RoleTarget
from controlplane.adapters.helm.release import Releases
from controlplane.adapters.kubernetes.reach import Budget, ClusterReach, PublicCidrReach
from controlplane.adapters.kubernetes.reach_runner import Guest, InVpcRunnerReach
from controlplane.adapters.kubernetes.runner_orders import RunnerSite
from controlplane.adapters.pulumi import restoration
from controlplane.adapters.pulumi.engine import EngineRun, InfrastructureEngine
from controlplane.adapters.pulumi.messages import PlannedResource
from controlplane.adapters.pulumi.recovery import RecoveryReport
from controlplane.adapters.pulumi.restoration import Adopted, Looked
from controlplane.adapters.pulumi.state import Snapshot
from controlplane.adapters.signing.countersigner import Countersigner
from wire.agent import DeniedAttempt
from wire.audit import Checkpoint
from wire.bundle import Bundle, Verb
from wire.certificate import InstallCertificate, RemovalCertificate, ResidueItem
from wire.envelope import Envelope
from wire.runner import RunnerOrder
from wire.takeover import TakeoverManifest


class EngineState(Protocol):
    """What the steps need of the engine's state store."""

    def ensure(self, boundary_id: UUID) -> None: ...

    def claim(self, boundary_id: UUID, run_id: UUID, fence: int) -> None: ...

    def snapshot(self, boundary_id: UUID, run_id: UUID, label: str) -> int: ...

    def has_stack(self, boundary_id: UUID, project: str, stack: str) -> bool: ...

    def read_stack(
        self, boundary_id: UUID, project: str, stack: str
    ) -> tuple[dict[str, Any], datetime] | None: ...

    def identifiers(self, boundary_id: UUID, project: str) -> set[str]: ...

    def snapshots(self, boundary_id: UUID) -> list[Snapshot]: ...

    def put_back(
        self, boundary_id: UUID, run_id: UUID, fence: int, number: int | None
    ) -> tuple[str, ...]: ...

    def export_stack(
        self, boundary_id: UUID, project: str, stack: str
    ) -> dict[str, Any] | None: ...


class EngineRecovery(Protocol):
    """Brings the state back to the truth after an engine that did not end in order."""

    def run(self, run: EngineRun, stacks: Sequence[str], account: Account) -> RecoveryReport: ...


class Signer(Protocol):
    """Signs with the control-plane key."""

    @property
    def fingerprint(self) -> str: ...

    @property
    def public(self) -> str: ...

    def sign(
        self,
        message: Bundle
        | Verb
        | InstallCertificate
        | RemovalCertificate
        | Checkpoint
        | TakeoverManifest
        | RunnerOrder,
    ) -> Envelope: ...


@dataclass(frozen=True)
class WayIn:
    """Which way one step goes into a cluster."""

    cluster: str
    folder: Path
    """The run's own, for a kubeconfig."""
    run_id: UUID
    runner: RunnerSite | None
    """Where a runner is started; None for the public endpoint."""
    guest: Guest | None = None
    """How a boundary comes in that lives in another's cluster."""


class Cloud(Protocol):
    """What is done in the customer's account beside the engine."""

    def account(self, target: RoleTarget, source: Callable[[], Credentials]) -> Account: ...

    def preflight(self, account: Account, wanted: preflight.Wanted) -> list[checks.Check]: ...

    def read_pins(self, account: Account) -> dict[str, str]: ...

    def store(
        self,
        account: Account,
        bucket: str,
        artifact: artifacts.Artifact,
        on_progress: Callable[[int, int], None],
    ) -> artifacts.Stored: ...

    def copy_image(
        self,
        account: Account,
        crane: Path,
        folder: Path,
        image: registry.Image,
        check: Callable[[], None],
    ) -> registry.CopiedImage: ...

    def census(self, account: Account, footprint: census.Footprint) -> list[ResidueItem]: ...

    def has_cluster(self, account: Account, name: str) -> bool: ...

    def strays(
        self, account: Account, install: str, known: Collection[str]
    ) -> list[strays.Stray]: ...

    def look_up(self, account: Account, plan: Sequence[PlannedResource]) -> Looked: ...

    def unsettled(self, account: Account, found: Sequence[Adopted]) -> str: ...

    def inventory(
        self,
        account: Account,
        retained: Mapping[str, str],
        host: str | None = None,
        *,
        images: bool = False,
    ) -> list[ResidueItem]: ...

    def power_off(self, account: Account) -> closing.PowerOff: ...

    def prove_no_entry(self, target: RoleTarget, *, succeeded_before: bool) -> DeniedAttempt: ...

    def reach(self, account: Account, way: WayIn) -> ClusterReach: ...


class AwsCloud:
    """The real account, or the rehearsal account behind the same protocol."""

    def __init__(
        self,
        sessions: RoleSessions,
        endpoint_url: str | None,
        our_cidrs: tuple[str, ...],
        reach_budget: Budget | None = None,
    ) -> None:
        self._sessions = sessions
        self._endpoint_url = endpoint_url
        self._our_cidrs = our_cidrs
        self._reach_budget = reach_budget

    def account(self, target: RoleTarget, source: Callable[[], Credentials]) -> Account:
        """Return clients of the role that ask `source` before each call."""
        return Account(target, source, self._endpoint_url)

    def preflight(self, account: Account, wanted: preflight.Wanted) -> list[checks.Check]:
        """Check the account before the first resource."""
        return preflight.run_checks(account, wanted)

    def read_pins(self, account: Account) -> dict[str, str]:
        """Return the fingerprints pinned on the closer role."""
        return preflight.read_pins(account)

    def store(
        self,
        account: Account,
        bucket: str,
        artifact: artifacts.Artifact,
        on_progress: Callable[[int, int], None],
    ) -> artifacts.Stored:
        """Copy one artifact into the bucket and prove what arrived."""
        return artifacts.store(account, bucket, artifact, on_progress)

    def copy_image(
        self,
        account: Account,
        crane: Path,
        folder: Path,
        image: registry.Image,
        check: Callable[[], None],
    ) -> registry.CopiedImage:
        """Copy one image into its repository and see what arrived."""
        return registry.copy_image(account, crane, folder, image, check)

    def census(self, account: Account, footprint: census.Footprint) -> list[ResidueItem]:
        """Return every trace of ours."""
        return census.take(account, footprint)

    def has_cluster(self, account: Account, name: str) -> bool:
        """Tell whether a cluster is there."""
        return census.has_cluster(account, name)

    def strays(self, account: Account, install: str, known: Collection[str]) -> list[strays.Stray]:
        """Return what carries the install's tags and is not known."""
        return strays.find_strays(account, install, known)

    def look_up(self, account: Account, plan: Sequence[PlannedResource]) -> Looked:
        """Ask for each resource that a plan would create whether the account has it."""
        return restoration.look_up(account, plan)

    def unsettled(self, account: Account, found: Sequence[Adopted]) -> str:
        """Return the id of something found that is still being made, or an empty text."""
        return restoration.unsettled(account, found)

    def inventory(
        self,
        account: Account,
        retained: Mapping[str, str],
        host: str | None = None,
        *,
        images: bool = False,
    ) -> list[ResidueItem]:
        """Return all of the boundary that the account holds; `host` is the cluster of a guest."""
        return inventory.take(account, retained, host, images=images)

    def power_off(self, account: Account) -> closing.PowerOff:
        """Attach deny-all to our own role and see a replay denied."""
        return closing.power_off(account)

    def prove_no_entry(self, target: RoleTarget, *, succeeded_before: bool) -> DeniedAttempt:
        """See AssumeRole denied."""
        return closing.prove_no_entry(self._sessions, target, succeeded_before=succeeded_before)

    def reach(self, account: Account, way: WayIn) -> ClusterReach:
        """Return the way into a cluster: through its public endpoint, or by a runner beside it."""
        if way.runner is not None:
            return InVpcRunnerReach(
                account, way.cluster, way.run_id, way.runner, self._reach_budget, way.guest
            )
        return PublicCidrReach(
            account,
            way.cluster,
            self._our_cidrs,
            way.folder,
            str(way.run_id),
            self._reach_budget,
        )


@dataclass(frozen=True)
class ProvisionSettings:
    """What the steps must know of this deployment. Units: seconds."""

    work_dir: Path
    artifact_store: Path
    blueprints_root: Path
    charts: Path
    images: dict[str, str]
    """Image name -> reference with digest."""
    agent_url: str
    customer_public_key: str
    vendor_account: str
    control_plane_cidrs: tuple[str, ...]
    time_scale: float
    is_rehearsal: bool
    """True when the account is the rehearsal account: the certificate says so."""
    poll_seconds: float = 0.5
    """How often the boundary's agent is looked at in the database."""
    state_passphrase_file: Path | None = None
    """Key of the secrets in the engine's state; a take-over kit is made only with it."""
    close_probe_seconds: float = 30.0
    """How often a closing role is probed (decision 5)."""
    crane: Path | None = None
    """The program that copies images; None: boundaries whose images are copied are refused."""
    refusal_seconds: float = 30.0
    """How long an agent's refusal of a verb may last before it counts."""


@dataclass(frozen=True)
class Ports:
    """Everything a step may use."""

    sessions: RoleSessions
    cloud: Cloud
    engine: InfrastructureEngine
    state: EngineState
    recovery: EngineRecovery
    releases: Callable[[Path], Releases]
    """Makes a helm client with the run's work folder."""
    signer: Signer
    countersigner: Countersigner
    settings: ProvisionSettings
