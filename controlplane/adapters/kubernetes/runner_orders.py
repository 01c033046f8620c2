"""Orders to a runner, and the runner behind them: found, started, proven, replaced.

Used by `reach_runner.py`, which knows what to order. Separate because who answers, and whether it
is the task that we started, is a question of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID, uuid4

from controlplane.adapters.aws.account import Account
from controlplane.adapters.aws.runner_mailbox import RunnerMailbox, Sent
from controlplane.adapters.aws.runner_task import RunnerTask, RunnerTasks
from controlplane.adapters.helm.release import ReleaseFailedError
from controlplane.adapters.kubernetes.control import ClusterControl
from controlplane.adapters.kubernetes.reach import NotReachableError
from controlplane.adapters.redaction import redact
from controlplane.core.clock import now
from controlplane.core.errors import ConflictError
from wire.envelope import Envelope
from wire.runner import (
    Action,
    RunnerAnswer,
    RunnerHello,
    RunnerOrder,
    Stop,
    order_name,
    run_prefix,
)

LIFE = timedelta(minutes=30)
"""How long a runner lives at most: what nobody stops ends by itself."""
SHORTEST_LIFE = timedelta(seconds=60)
ORDER_LIFE = timedelta(minutes=15)
REPLACEMENTS = 3
LOOK_SECONDS = 2.0
"""How often ECS is asked whether a runner that is silent still runs."""


class OrderSigner(Protocol):
    """Signs orders with the control-plane key."""

    @property
    def public(self) -> str: ...

    def sign(self, message: RunnerOrder) -> Envelope: ...


@dataclass(frozen=True)
class RunnerSite:
    """What a runner needs to be started, and who gives it orders."""

    bucket: str
    image: str
    fence: int
    grant_until: datetime
    signer: OrderSigner
    check: Callable[[], None]
    """Raises when the step must stop: a worker without its lease gives no orders."""


class RunnerDiedError(NotReachableError):
    """The runner has ended, or did not begin: nobody can ask the cluster for us."""

    code = "runner-died"


class RunnerRefusedError(ConflictError):
    """The runner did not take an order; the message has its reason."""

    code = "runner-refused"


@dataclass(frozen=True)
class Link:
    """A runner that was proven to be the task that we started."""

    task: RunnerTask
    mailbox: str
    hello: RunnerHello


class RunnerOrders:
    """One run's orders, to whichever of its runners lives."""

    def __init__(
        self,
        account: Account,
        control: ClusterControl,
        tasks: RunnerTasks,
        mail: RunnerMailbox,
        run_id: UUID,
        site: RunnerSite,
        ready_seconds: float,
    ) -> None:
        """`ready_seconds` may pass until a task that was started says hello."""
        self._account, self._control, self._tasks, self._mail = account, control, tasks, mail
        self._run_id, self._site, self._ready_seconds = run_id, site, ready_seconds
        self._linked: Link | None = None

    def stop(self) -> None:
        """Tell the runner that we spoke to last to end; who cannot hear it is stopped by ECS."""
        if self._linked is not None:
            self._send(self._linked, Stop())
            self._linked = None

    def give(self, make: Callable[[Link], Action], *, runners: int = REPLACEMENTS) -> RunnerAnswer:
        """Have one order done; a runner that has died is replaced and given it anew.

        Raises: RunnerDiedError, RunnerRefusedError, ReleaseFailedError.
        """
        died: RunnerDiedError | None = None
        for _ in range(runners):
            try:
                link = self._link()
                answer = self._wait(link, make(link))
            except RunnerDiedError as error:
                self._linked, died = None, error
                continue
            reason = redact(answer.reason)[:1500]
            if answer.outcome == "refused":
                raise RunnerRefusedError(
                    f"the runner refused order {answer.order} ({answer.code}): {reason}",
                    detail={"refusal": answer.code},
                )
            if answer.outcome == "failed":
                raise ReleaseFailedError(f"{answer.code}: {reason}")
            return answer
        assert died is not None
        raise died

    def _wait(self, link: Link, action: Action) -> RunnerAnswer:
        """Give an order and wait for its answer."""
        sent, expires = self._send(link, action)
        looked = time.monotonic()
        while True:
            self._site.check()
            answer = self._mail.answer(link.mailbox, sent, link.hello)
            if answer is not None:
                return answer
            if time.monotonic() - looked > LOOK_SECONDS:
                looked = time.monotonic()
                self._require_alive(link.task.arn)
            if now() > expires + timedelta(seconds=30):
                raise RunnerDiedError(f"the runner did not answer order {sent.name} in time")
            time.sleep(0.2)

    def _send(self, link: Link, action: Action) -> tuple[Sent, datetime]:
        fence = self._site.fence
        sequence = self._mail.last_sequence(link.mailbox, fence) + 1
        at = now()
        order = RunnerOrder(
            run_id=self._run_id,
            mailbox=link.mailbox,
            fence=fence,
            sequence=sequence,
            issued_at=at,
            expires_at=at + ORDER_LIFE,
            action=action,
        )
        name = order_name(fence, sequence)
        return self._mail.send(link.mailbox, name, self._site.signer.sign(order)), order.expires_at

    def _link(self) -> Link:
        """Return a runner of this run that is proven and lives long enough; start one if not."""
        linked = self._linked
        if linked is None or linked.hello.deadline - now() < SHORTEST_LIFE:
            task = self._living() or self._start()
            self._linked = linked = self._greet(task)
        return linked

    def _living(self) -> RunnerTask | None:
        for task in self._tasks.running():
            if not task.has_ended and task.ends_at() - now() > SHORTEST_LIFE:
                return task
        return None

    def _start(self) -> RunnerTask:
        self._site.check()
        self._tasks.ensure()
        deadline = min(now() + LIFE, self._site.grant_until)
        if deadline - now() < SHORTEST_LIFE:
            raise ConflictError(
                "the grant ends too soon for a runner",
                code="no-grant",
                fix="open a new grant, then retry the run",
            )
        vpc = self._control.describe()["resourcesVpcConfig"]
        return self._tasks.start(
            vpc["subnetIds"],
            vpc["clusterSecurityGroupId"],
            {
                "RUNNER_BUCKET": self._site.bucket,
                "RUNNER_MAILBOX": f"{run_prefix(self._run_id)}{uuid4().hex}/",
                "RUNNER_REGION": self._account.region,
                "RUNNER_RUN": str(self._run_id),
                "RUNNER_FENCE": str(self._site.fence),
                "RUNNER_DEADLINE": deadline.isoformat(),
                "RUNNER_CONTROL_PLANE_KEY": self._site.signer.public,
            },
        )

    def _greet(self, task: RunnerTask) -> Link:
        """Wait for the task's hello, and let STS say that it is the task's."""
        mailbox = task.environment["RUNNER_MAILBOX"]
        give_up = time.monotonic() + self._ready_seconds
        while True:
            self._site.check()
            hello = self._mail.hello(mailbox, self._tasks.role_arn, task.identifier)
            if hello is not None:
                return Link(task, mailbox, hello)
            self._require_alive(task.arn)
            if time.monotonic() > give_up:
                raise RunnerDiedError(f"the runner {task.arn} did not say hello in time")
            time.sleep(0.2)

    def _require_alive(self, arn: str) -> None:
        found = self._tasks.find(arn)
        if found is None or found.has_ended:
            why = "ECS knows it no more" if found is None else found.reason or found.status
            raise RunnerDiedError(f"the runner {arn} has ended: {why}")
