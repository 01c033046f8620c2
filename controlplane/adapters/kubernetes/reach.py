"""`ClusterReach`: how the control plane gets to a boundary's cluster, and how that ends.

Called by the saga's steps `reach_open`, `stack` and `reach_close`. Separate from the infrastructure
program on purpose (decision 9): our access entry and the openness of the endpoint belong to the
run, an access entry dies with its role, each grant makes its own.

`PublicCidrReach` is the way for clusters with a public endpoint limited to our addresses. The
in-VPC runner (`reach_runner.py`) is the other one; an existing network would be a third.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

from botocore.exceptions import ClientError

from controlplane.adapters.aws.account import Account
from controlplane.adapters.aws.errors import error_code, translated
from controlplane.adapters.helm.release import Release, Releases
from controlplane.adapters.kubernetes.control import ClusterControl
from controlplane.adapters.kubernetes.endpoint import Endpoint
from controlplane.adapters.kubernetes.token import eks_token
from controlplane.core.clock import now
from controlplane.core.errors import ConflictError, InternalError, UnavailableError
from wire.agent import DeniedAttempt
from wire.certificate import WayInSeen

# Needs authentication and the right to list: `/readyz` answers anybody, so it proves no way in.
QUESTION = "/api/v1/namespaces?limit=1"
_Found = TypeVar("_Found")
_BUSY = frozenset({"ResourceInUseException", "InvalidRequestException"})


@dataclass(frozen=True)
class Budget:
    """Seconds that may pass, at time scale 1, before a wait is given up."""

    update: float = 900.0
    ready: float = 300.0
    refused: float = 120.0

    def scaled(self, scale: float, own: float) -> Budget:
        """Return it for an account whose clock is scaled, with `own` seconds of ours on top."""
        return Budget(
            self.update * scale + own, self.ready * scale + own, self.refused * scale + own
        )


@dataclass(frozen=True)
class WayInClosed:
    """When the way in was shut, and the refused calls that show it."""

    closed_at: datetime
    proofs: tuple[DeniedAttempt, ...]
    way_in: WayInSeen
    """What was seen beside the refused calls."""


class NotReachableError(UnavailableError):
    """The cluster did not answer, or not to us, within the budget."""

    code = "cluster-unreachable"


class StillReachableError(UnavailableError):
    """The cluster still answers us after the way in was shut."""

    code = "still-reachable"


class UpdateFailedError(ConflictError):
    """EKS gave up a change of the cluster."""

    code = "cluster-update-failed"


class ClusterReach(Protocol):
    """One run's way into one cluster."""

    def open(self) -> None:
        """Open the way and wait until the cluster answers through it."""
        ...

    def install(
        self, releases: Releases, name: str, chart: Path, namespace: str, values: Mapping[str, Any]
    ) -> Release:
        """Install or upgrade a chart; `releases` is the helm of this process."""
        ...

    def uninstall(self, releases: Releases, name: str, namespace: str) -> bool:
        """Remove a release and return whether there was one."""
        ...

    def empty(self, *namespaces: str) -> None:
        """Delete what a guest has in its namespaces of a cluster that stays."""
        ...

    def close(self) -> WayInClosed:
        """Shut the way and prove it; safe to repeat."""
        ...


class PublicCidrReach:
    """Through the public endpoint, opened to our addresses only and shut at the end."""

    def __init__(
        self,
        account: Account,
        cluster: str,
        our_cidrs: tuple[str, ...],
        work_dir: Path,
        run_id: str,
        budget: Budget | None = None,
    ) -> None:
        self._account = account
        self._cluster = cluster
        self._control = ClusterControl(account, cluster)
        self._our_cidrs = our_cidrs
        self._file = work_dir / "kubeconfig"
        self._run_id = run_id
        self._budget = budget or Budget()

    def open(self) -> None:
        """Make our access entry, open the endpoint to us, wait until it answers.

        Raises: NotReachableError, UpdateFailedError, the classes of `translated`.
        """
        self._control.ensure_entry(self._account.target.role_arn, self._token("access-entry"))
        vpc = self._control.describe()["resourcesVpcConfig"]
        if not vpc["endpointPublicAccess"] or not set(self._our_cidrs) <= set(
            vpc["publicAccessCidrs"]
        ):
            self._update(
                {
                    "endpointPublicAccess": True,
                    "endpointPrivateAccess": True,
                    "publicAccessCidrs": list(self._our_cidrs),
                }
            )
        endpoint = self._control.endpoint()
        last = until(lambda: self._ask(endpoint), lambda found: found == 200, self._budget.ready)
        if last != 200:
            raise NotReachableError(
                f"cluster {self._cluster} at {endpoint.url} does not let us in: {last}",
                fix="check that our address is within publicAccessCidrs and the role's entry",
            )

    def install(
        self, releases: Releases, name: str, chart: Path, namespace: str, values: Mapping[str, Any]
    ) -> Release:
        """Let our own helm do it, with a fresh token."""
        return releases.upgrade_install(self.kubeconfig(), name, chart, namespace, values)

    def uninstall(self, releases: Releases, name: str, namespace: str) -> bool:
        """Let our own helm do it, with a fresh token."""
        return releases.uninstall(self.kubeconfig(), name, namespace)

    def empty(self, *namespaces: str) -> None:
        """Refuse: through the public endpoint comes only whose cluster goes as a whole."""
        raise InternalError("a cluster of its own is not emptied: it is destroyed")

    def kubeconfig(self) -> Path:
        """Write a kubeconfig with a fresh token; good for 14 minutes."""
        token, _ = eks_token(self._account, self._cluster)
        return self._control.endpoint().write_kubeconfig(self._file, token)

    def close(self) -> WayInClosed:
        """Delete the entry, see us refused, make the endpoint private, see it shut.

        Raises: StillReachableError, UpdateFailedError, the classes of `translated`.
        """
        endpoint = self._control.endpoint()
        before = self._ask(endpoint)
        self._control.delete_entry(self._account.target.role_arn)
        proofs = []
        if isinstance(before, int):
            proofs.append(self._refused("kubernetes:list-namespaces", endpoint, before, no_caller))
        if self._control.describe()["resourcesVpcConfig"]["endpointPublicAccess"]:
            self._update({"endpointPublicAccess": False, "endpointPrivateAccess": True})
        proofs.append(self._refused("kubernetes:connect", endpoint, before, no_connection))
        self._file.unlink(missing_ok=True)
        return WayInClosed(proofs[-1].denied_at, tuple(proofs), self._see_shut())

    def _see_shut(self) -> WayInSeen:
        is_public = self._control.describe()["resourcesVpcConfig"]["endpointPublicAccess"]
        left = self._control.entries().count(self._account.target.role_arn)
        if is_public or left:
            raise StillReachableError(
                f"cluster {self._cluster} has {left} access entry of ours left, "
                f"its public endpoint is {'open' if is_public else 'shut'}",
                fix="look at the cluster's access entries and its endpoint",
            )
        return WayInSeen(way="public-cidr", access_entries=0, public_endpoint=False)

    def _refused(
        self,
        action: str,
        endpoint: Endpoint,
        before: int | str,
        is_refused: Callable[[int | str], bool],
    ) -> DeniedAttempt:
        attempts = 0

        def ask() -> int | str:
            nonlocal attempts
            attempts += 1
            return self._ask(endpoint)

        last = until(ask, is_refused, self._budget.refused)
        if not is_refused(last):
            raise StillReachableError(
                f"cluster {self._cluster} still answers us with {last} after {attempts} attempts",
                fix="look at the cluster's access entries and publicAccessCidrs",
            )
        return DeniedAttempt(
            action=action,
            error_code=str(last),
            succeeded_before=before == 200,
            denied_at=now(),
            attempts=attempts,
        )

    def _ask(self, endpoint: Endpoint) -> int | str:
        token, _ = eks_token(self._account, self._cluster)
        return endpoint.answer(QUESTION, token)

    def _update(self, config: dict[str, Any]) -> None:
        """Change the endpoint and wait until EKS has done it."""
        with translated("eks:UpdateClusterConfig"):
            update = self._start_update(config)
        status = until(
            lambda: self._update_status(update),
            lambda found: found in ("Successful", "Failed", "Cancelled"),
            self._budget.update,
        )
        if status != "Successful":
            raise UpdateFailedError(
                f"the change of the endpoint of {self._cluster} is {status}",
                fix=f"look at update {update} of the cluster",
            )

    def _start_update(self, config: dict[str, Any]) -> str:
        deadline = time.monotonic() + self._budget.update
        while True:
            try:
                answer = self._account.client("eks").update_cluster_config(
                    name=self._cluster, resourcesVpcConfig=config
                )
            except ClientError as error:
                # One update at a time: another one is under way.
                if error_code(error) not in _BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(1.0)
            else:
                return str(answer["update"]["id"])

    def _update_status(self, update: str) -> str:
        with translated("eks:DescribeUpdate"):
            found = self._account.client("eks").describe_update(name=self._cluster, updateId=update)
        return str(found["update"]["status"])

    def _token(self, key: str) -> str:
        # Derived, so that a repeated call of the same run is the same request to EKS.
        text = f"{self._run_id}:{key}:{self._account.target.role_name}"
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def no_caller(found: int | str) -> bool:
    """Tell whether the cluster refuses the caller, or does not even answer."""
    return found in (401, 403) or isinstance(found, str)


def no_connection(found: int | str) -> bool:
    """Tell whether nothing answers."""
    return isinstance(found, str)


def until(ask: Callable[[], _Found], done: Callable[[_Found], bool], seconds: float) -> _Found:
    """Ask until `done` or time is up; return the last answer. Pauses of 0.1 to 2 s."""
    deadline, pause = time.monotonic() + seconds, 0.1
    while True:
        found = ask()
        if done(found) or time.monotonic() > deadline:
            return found
        time.sleep(pause)
        pause = min(pause * 1.3, 2.0)
