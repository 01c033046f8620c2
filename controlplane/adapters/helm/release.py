"""Install, upgrade and remove one release by the real helm CLI.

Called by the saga's step `stack` with the kubeconfig of `ClusterReach`. Separate because it starts
a child process: allow-listed environment, values in a 0600 file, never in arguments.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from controlplane.adapters.handover import write_private
from controlplane.adapters.redaction import redact
from controlplane.core.errors import UnavailableError


@dataclass(frozen=True)
class Release:
    """A release as the cluster has it."""

    name: str
    namespace: str
    revision: int
    status: str
    chart: str


ADOPTION_GAP = "original object Namespace"
"""Helm's words for a namespace that it made itself and did not list before."""


class ReleaseFailedError(UnavailableError):
    """Helm refused or failed; the message holds its last words."""

    code = "release-failed"


class Releases(Protocol):
    """What the sagas need of helm."""

    def upgrade_install(
        self,
        kubeconfig: Path,
        name: str,
        chart: Path,
        namespace: str,
        values: Mapping[str, Any],
        *,
        wait_seconds: int | None = None,
        create_namespace: bool = True,
    ) -> Release: ...

    def uninstall(self, kubeconfig: Path, name: str, namespace: str) -> bool: ...


class HelmReleases:
    """The real CLI, in a work folder of the run."""

    def __init__(self, helm: Path, work_dir: Path, *, timeout_seconds: int = 600) -> None:
        self._helm = helm
        self._work_dir = work_dir
        self._timeout = timeout_seconds

    def upgrade_install(
        self,
        kubeconfig: Path,
        name: str,
        chart: Path,
        namespace: str,
        values: Mapping[str, Any],
        *,
        wait_seconds: int | None = None,
        create_namespace: bool = True,
    ) -> Release:
        """Install or upgrade; the same values twice change nothing but the revision.

        `wait_seconds` waits until the chart's objects are ready. Without `create_namespace` it must
        be there, and no right to make one is needed. Raises: ReleaseFailedError.
        """
        values_file = self._work_dir / f"values-{name}.json"
        write_private(values_file, json.dumps(values))
        arguments = ["upgrade", name, str(chart), "--install"]
        arguments += ["--create-namespace"] if create_namespace else []
        arguments += ["--namespace", namespace, "--values", str(values_file), "--output", "json"]
        # The chart labels the namespace that --create-namespace made, so it must take it over.
        arguments += ["--hide-notes", "--take-ownership"]
        if wait_seconds is not None:
            arguments += ["--wait", "--timeout", f"{wait_seconds}s"]
        try:
            document = json.loads(self._run_adopting(kubeconfig, arguments))
        finally:
            values_file.unlink(missing_ok=True)
        # The document also holds every value, secrets among them: only these facts leave here.
        return Release(
            name=document["name"],
            namespace=document["namespace"],
            revision=int(document["version"]),
            status=document["info"]["status"],
            chart=f"{document['chart']['metadata']['name']}-{document['chart']['metadata']['version']}",
        )

    def uninstall(self, kubeconfig: Path, name: str, namespace: str) -> bool:
        """Remove a release and return whether there was one. Raises: ReleaseFailedError."""
        place = ["--namespace", namespace]
        listed = self._run(
            kubeconfig, ["list", "--filter", f"^{name}$", "--output", "json", *place]
        )
        if not json.loads(listed):
            return False
        self._run(kubeconfig, ["uninstall", name, "--ignore-not-found", *place])
        return True

    def _run_adopting(self, kubeconfig: Path, arguments: list[str]) -> str:
        """Run an upgrade; a second time when helm has just made the namespace it is to adopt.

        Helm lists what it adopts before it creates the namespace. Where parts of an earlier
        release were kept but the namespace is gone, it then misses its own namespace.
        """
        try:
            return self._run(kubeconfig, arguments)
        except ReleaseFailedError as error:
            if ADOPTION_GAP not in str(error):
                raise
            return self._run(kubeconfig, arguments)

    def _run(self, kubeconfig: Path, arguments: list[str]) -> str:
        home = self._work_dir / "helm"
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(home),
            "HELM_CACHE_HOME": str(home / "cache"),
            "HELM_CONFIG_HOME": str(home / "config"),
            "HELM_DATA_HOME": str(home / "data"),
        }
        try:
            done = subprocess.run(
                [str(self._helm), *arguments, "--kubeconfig", str(kubeconfig)],
                env=environment,
                cwd=self._work_dir,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=self._timeout,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ReleaseFailedError(
                f"helm {arguments[0]} did not end: {type(error).__name__}",
                fix="check RINGFENCE_TOOL_HELM and the cluster",
            ) from error
        if done.returncode != 0:
            raise ReleaseFailedError(
                f"helm {arguments[0]} failed: {redact(done.stderr.strip())[-1500:]}"
            )
        return done.stdout
