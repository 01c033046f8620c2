"""Do one admitted order and say what came of it.

Used by `runner.main`. One function per word of the vocabulary; there is no other word.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from proof.canonical import bytes_digest
from proof.sealing import RUNNER_ORDER, SealingError, unseal
from runner.cluster import BadAuthorityError, ask, write_kubeconfig, write_private
from runner.emptying import ClusterRefusedError, empty
from runner.helm import Helm, HelmError
from runner.identity import Identity
from runner.mailbox import Mailbox, MailboxError, TooLargeError
from runner.orders import RefusedError
from wire.runner import (
    AskCluster,
    ClusterAddress,
    EmptyBoundary,
    InstallRelease,
    ReadRelease,
    ReleaseFacts,
    RunnerOrder,
    UninstallRelease,
)

_SECRET_NAMES = ("token", "secret", "password", "passphrase")
MASK = "[redacted]"
EMPTY_SECONDS = 180.0
"""How long pods and volumes may take to go."""


class FailedError(Exception):
    """The order was right and could not be done; `code` is stable."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Found:
    """What came of an order."""

    found: int | str | None = None
    release: ReleaseFacts | None = None
    existed: bool | None = None


@dataclass
class Work:
    """Does orders with the task's identity."""

    run_id: UUID
    mailbox: Mailbox
    identity: Identity
    helm: Path
    seconds_left: Callable[[], float]
    """Until the deadline: a child never outlives it."""
    folder: Path | None = field(default=None)

    def do(self, order: RunnerOrder) -> Found:
        """Do it. Raises: FailedError; RefusedError when what it names is not what it says."""
        action = order.action
        try:
            if isinstance(action, AskCluster):
                token = self.identity.token(action.cluster.name)
                return Found(found=ask(action.cluster, token, action.namespace))
            if isinstance(action, InstallRelease):
                return self._install(action)
            if isinstance(action, UninstallRelease):
                with self._helm(action.cluster) as (helm, _):
                    return Found(existed=helm.uninstall(action.release, action.namespace))
            if isinstance(action, EmptyBoundary):
                return self._empty(action)
            if isinstance(action, ReadRelease):
                with self._helm(action.cluster) as (helm, _):
                    release = helm.find(action.release, action.namespace)
                    return Found(release=release, existed=release is not None)
        except HelmError as error:
            raise FailedError("helm-failed", str(error)) from error
        except MailboxError as error:
            raise FailedError("bucket-failed", str(error)) from error
        except ClusterRefusedError as error:
            raise FailedError("cluster-refused", str(error)) from error
        except BadAuthorityError as error:
            raise RefusedError("malformed", str(error)) from error
        return Found()

    def _empty(self, action: EmptyBoundary) -> Found:
        """Delete, and wait until pods and volumes are gone: then nothing can bring them back."""
        seconds = max(1.0, min(self.seconds_left() - 5.0, EMPTY_SECONDS))
        token = self.identity.token(action.cluster.name)
        left = empty(action.cluster, token, action.boundary, action.namespaces, seconds)
        if left:
            raise FailedError("not-empty", f"left after {seconds:.0f} s: {', '.join(left[:5])}")
        return Found()

    def _install(self, action: InstallRelease) -> Found:
        values = self._opened(action)
        chart = self._chart(action.chart_digest)
        with self._helm(action.cluster) as (helm, folder):
            write_private(folder / "chart.tgz", chart)
            write_private(folder / "values.json", json.dumps(values).encode())
            try:
                release = helm.install(
                    action.release,
                    action.namespace,
                    folder / "chart.tgz",
                    folder / "values.json",
                    create_namespace=action.create_namespace,
                )
            except HelmError as error:
                raise HelmError(_without(str(error), _secrets(values))) from error
        return Found(release=release)

    def _opened(self, action: InstallRelease) -> dict[str, Any]:
        try:
            values = json.loads(unseal(action.values, self.identity.sealing, RUNNER_ORDER))
        except SealingError as error:
            raise RefusedError("not-sealed-to-us", str(error)) from error
        except ValueError as error:
            raise RefusedError("malformed", "the values are not JSON") from error
        if not isinstance(values, dict):
            raise RefusedError("malformed", "the values are not an object")
        return values

    def _chart(self, digest: str) -> bytes:
        try:
            chart = self.mailbox.chart(self.run_id, digest)
        except TooLargeError as error:
            raise RefusedError("too-large", str(error)) from error
        if bytes_digest(chart) != digest:
            raise RefusedError("wrong-chart", f"the chart in the bucket is not {digest}")
        return chart

    @contextmanager
    def _helm(self, cluster: ClusterAddress) -> Iterator[tuple[Helm, Path]]:
        """Give helm a folder that is gone afterwards, with a fresh token in it."""
        with tempfile.TemporaryDirectory(prefix="order-", dir=self.folder) as name:
            helm = Helm(self.helm, Path(name), max(1.0, self.seconds_left() - 5.0))
            write_kubeconfig(helm.kubeconfig, cluster, self.identity.token(cluster.name))
            yield helm, Path(name)


def _secrets(values: Any, *, is_secret: bool = False) -> Iterator[str]:
    """Give every text below a name that says secret: helm may quote a value that it refuses."""
    if isinstance(values, dict):
        for key, one in values.items():
            named = any(word in key.lower() for word in _SECRET_NAMES)
            yield from _secrets(one, is_secret=is_secret or named)
    elif isinstance(values, list):
        for one in values:
            yield from _secrets(one, is_secret=is_secret)
    elif isinstance(values, str) and values and is_secret:
        yield values


def _without(text: str, secrets: Iterator[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, MASK)
    return text
