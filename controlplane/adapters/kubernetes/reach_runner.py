"""The way in through a runner inside the boundary's network, where the endpoint is never public.

Made by `sagas.provisioning.ports` for an install with `reach: in-vpc-runner`. A short-lived task in
the private subnets does signed orders (`wire/runner.py`); it is started when it is first needed,
replaced when it has died, and gone when the way is shut. Nothing of this process ever connects to
the cluster, which the close shows (docs/adr/0038).
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from controlplane.adapters.aws.account import Account
from controlplane.adapters.aws.runner_mailbox import RunnerMailbox
from controlplane.adapters.aws.runner_task import RunnerTasks, TaskPlace
from controlplane.adapters.helm.release import Release, Releases
from controlplane.adapters.kubernetes.control import ClusterControl
from controlplane.adapters.kubernetes.reach import (
    QUESTION,
    Budget,
    NotReachableError,
    StillReachableError,
    WayInClosed,
    no_caller,
    no_connection,
    until,
)
from controlplane.adapters.kubernetes.runner_orders import (
    REPLACEMENTS,
    Link,
    RunnerDiedError,
    RunnerOrders,
    RunnerRefusedError,
    RunnerSite,
)
from controlplane.adapters.kubernetes.token import eks_token
from controlplane.core.clock import now
from controlplane.core.errors import ConflictError, InternalError, NotFoundError
from proof.sealing import RUNNER_ORDER, seal
from wire.agent import DeniedAttempt
from wire.certificate import WayInSeen
from wire.runner import (
    Action,
    AskCluster,
    ClusterAddress,
    EmptyBoundary,
    InstallRelease,
    UninstallRelease,
)
from wire.takeover import Recipient


@dataclass(frozen=True)
class Guest:
    """How a boundary comes into a cluster that is another one's (docs/adr/0040)."""

    group: str
    """The Kubernetes group that its access entry names."""
    namespace: str
    """One of its own, about which the cluster is asked: it may see no other."""
    boundary: str
    """Its name, and that of its SecurityBoundary."""


class InVpcRunnerReach:
    """One run's way into one cluster by orders to a task beside it."""

    def __init__(
        self,
        account: Account,
        cluster: str,
        run_id: UUID,
        site: RunnerSite,
        budget: Budget | None = None,
        guest: Guest | None = None,
    ) -> None:
        """`guest` is how a boundary comes into the cluster of another one."""
        self._account, self._site, self._run_id = account, site, run_id
        self._guest = guest
        self._control = ClusterControl(account, cluster)
        self._mail = RunnerMailbox(account, site.bucket, run_id)
        place = TaskPlace(run_id, site.bucket, site.image)
        self._tasks = RunnerTasks(account, place)
        self._budget = budget or Budget()
        self._orders = RunnerOrders(
            account, self._control, self._tasks, self._mail, run_id, site, self._budget.ready
        )

    def open(self) -> None:
        """Let the runner's role in, and wait until the cluster answers the runner.

        Raises: NotReachableError, RunnerDiedError, the classes of `translated`.
        """
        self._tasks.ensure()
        self._let_in()
        last = until(self._ask, lambda found: found == 200, self._budget.ready)
        if last != 200:
            raise NotReachableError(
                f"cluster {self._control.name} does not let the runner in: {last}",
                fix="check the cluster's private endpoint, its security group and its entries",
            )

    def install(
        self, releases: Releases, name: str, chart: Path, namespace: str, values: Mapping[str, Any]
    ) -> Release:
        """Let the runner install it; the values are sealed to the runner's own key."""
        digest = self._mail.put_chart(chart)
        text = json.dumps(values).encode()

        def order(link: Link) -> Action:
            recipient = Recipient(public=link.hello.sealing_key)
            return InstallRelease(
                cluster=self._address(),
                release=name,
                namespace=namespace,
                create_namespace=self._guest is None,
                chart_digest=digest,
                values=seal(text, recipient, secrets.token_bytes(32), RUNNER_ORDER),
            )

        done = self._orders.give(order).release
        if done is None:
            raise RunnerRefusedError("the runner says done and tells of no release")
        return Release(done.name, done.namespace, done.revision, done.status, done.chart)

    def uninstall(self, releases: Releases, name: str, namespace: str) -> bool:
        """Let the runner remove it."""
        action = UninstallRelease(cluster=self._address(), release=name, namespace=namespace)
        return bool(self._orders.give(lambda _: action).existed)

    def empty(self, *namespaces: str) -> None:
        """Let the runner delete what a guest has; what may be is for the host's rules to say."""
        if self._guest is None:
            raise InternalError("a cluster of its own is not emptied: it is destroyed")
        action = EmptyBoundary(
            cluster=self._address(), boundary=self._guest.boundary, namespaces=namespaces
        )
        self._orders.give(lambda _: action)

    def close(self) -> WayInClosed:
        """Take the entry away, see the runner refused, end it, leave nothing of it.

        Raises: StillReachableError, the classes of `translated`; NotFoundError when there is no
        cluster, after the runner's parts are gone.
        """
        try:
            proofs, seen = self._prove_shut()
        except NotFoundError:
            self._remove()
            raise
        way_in = seen.model_copy(update={"running_tasks": 0, "objects_deleted": self._remove()})
        return WayInClosed(proofs[0].denied_at, tuple(proofs), way_in)

    def _let_in(self) -> None:
        """Let the runner's role in; EKS may not know a new role for a moment."""
        give_up = time.monotonic() + self._budget.ready
        while True:
            self._site.check()
            try:
                return self._ensure_entry()
            except ConflictError:
                if time.monotonic() > give_up:
                    raise
            time.sleep(1.0)

    def _ensure_entry(self) -> None:
        """Make the role an administrator, or in another's cluster a member of the guest's group."""
        if self._guest is None:
            return self._control.ensure_entry(self._tasks.role_arn, self._token())
        return self._control.ensure_guest_entry(
            self._tasks.role_arn, self._token(), self._guest.group
        )

    def _prove_shut(self) -> tuple[list[DeniedAttempt], WayInSeen]:
        proofs = []
        had_entry = self._tasks.role_arn in self._control.entries()
        if had_entry or self._tasks.running():
            proofs += self._see_refused(had_entry=had_entry)
        proofs.append(self._see_no_connection())
        return proofs, self._see_private()

    def _remove(self) -> int:
        """End every runner and delete what it was made of; return how many objects went.

        Raises: StillReachableError while a runner has not ended.
        """
        self._orders.stop()
        self._tasks.stop_all()
        left = until(self._tasks.left, lambda tasks: not tasks, self._budget.refused)
        if left:
            raise StillReachableError(
                f"{len(left)} runner(s) have not ended: {left[0].arn} is {left[0].status}",
                fix=f"stop the task in ECS: {left[0].arn}",
            )
        self._tasks.delete()
        return self._mail.clear()

    # ---- What the close has to see

    def _see_refused(self, *, had_entry: bool) -> list[DeniedAttempt]:
        """Delete the entry, and see the same question refused that was answered before.

        Empty where no runner can be had: then nothing of ours is left that could ask.
        """
        if had_entry:
            self._tasks.ensure()
        try:
            before = self._ask(runners=1)
        except RunnerDiedError:
            self._control.delete_entry(self._tasks.role_arn)
            return []
        self._control.delete_entry(self._tasks.role_arn)
        attempts = 0

        def ask() -> int | str:
            nonlocal attempts
            attempts += 1
            return self._ask()

        last = until(ask, no_caller, self._budget.refused)
        if not no_caller(last):
            raise StillReachableError(
                f"cluster {self._control.name} still answers the runner with {last}",
                fix="look at the cluster's access entries",
            )
        return [
            DeniedAttempt(
                action="kubernetes:list-pods" if self._guest else "kubernetes:list-namespaces",
                error_code=str(last),
                succeeded_before=before == 200,
                denied_at=now(),
                attempts=attempts,
            )
        ]

    def _see_no_connection(self) -> DeniedAttempt:
        """See that the endpoint does not answer us, as it never did.

        Where it is another boundary's, a run of that one may have it open: then it refuses us.
        """
        token, _ = eks_token(self._account, self._control.name)
        found = self._control.endpoint().answer(QUESTION, token)
        if not (no_caller(found) if self._guest else no_connection(found)):
            raise StillReachableError(
                f"the endpoint of {self._control.name} answers from outside with {found}",
                fix="look at endpointPublicAccess of the cluster",
            )
        return DeniedAttempt(
            action="kubernetes:connect",
            error_code=str(found),
            succeeded_before=False,
            denied_at=now(),
            attempts=1,
        )

    def _see_private(self) -> WayInSeen:
        """See in EKS that no way of ours is left, and that the endpoint never was public.

        The endpoint of another boundary's cluster is not ours to judge: only our entries are.
        """
        vpc = self._control.describe()["resourcesVpcConfig"]
        ours = {self._tasks.role_arn, self._account.target.role_arn}
        left = sorted(ours & set(self._control.entries()))
        if left or (vpc["endpointPublicAccess"] and self._guest is None):
            raise StillReachableError(
                f"cluster {self._control.name}: entries of ours {left}, public endpoint "
                f"{vpc['endpointPublicAccess']}",
                fix="close the way by hand, then retry the run",
            )
        if self._guest is not None:
            return WayInSeen(way="in-vpc-runner", access_entries=0)
        changes = len(self._control.endpoint_changes())
        return WayInSeen(
            way="in-vpc-runner", access_entries=0, public_endpoint=False, endpoint_changes=changes
        )

    def _ask(self, *, runners: int = REPLACEMENTS) -> int | str:
        inside = self._guest.namespace if self._guest else None
        action = AskCluster(cluster=self._address(), namespace=inside)
        found = self._orders.give(lambda _: action, runners=runners).found
        return "unreachable" if found is None else found

    def _address(self) -> ClusterAddress:
        endpoint = self._control.endpoint()
        return ClusterAddress(
            name=self._control.name,
            endpoint=endpoint.url,
            certificate_authority=endpoint.certificate_authority,
        )

    def _token(self) -> str:
        # Derived, so that a repeated call of the same run is the same request to EKS.
        text = f"{self._run_id}:runner-entry:{self._account.target.role_name}"
        return hashlib.sha256(text.encode()).hexdigest()[:32]
