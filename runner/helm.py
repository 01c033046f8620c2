"""Install, read and remove a release by the helm CLI.

Used by `runner.work`. Separate because it starts a child: allow-listed environment, kubeconfig and
values in files of mode 0600 that go with the folder, never in arguments.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from wire.runner import ReleaseFacts

# Helm lists what it takes over before it makes the namespace, and then misses its own.
_OWN_NAMESPACE = "original object Namespace"


class HelmError(RuntimeError):
    """Helm refused, failed or did not end; the message holds its last words."""


class Helm:
    """The CLI for one order: a folder of its own and an end."""

    def __init__(self, program: Path, folder: Path, seconds: float) -> None:
        self._program, self._folder, self._seconds = program, folder, seconds

    @property
    def kubeconfig(self) -> Path:
        """Return where the kubeconfig has to be."""
        return self._folder / "kubeconfig"

    def install(
        self,
        release: str,
        namespace: str,
        chart: Path,
        values: Path,
        *,
        create_namespace: bool = True,
    ) -> ReleaseFacts:
        """Install or upgrade; the same values twice change the revision only. Raises: HelmError."""
        arguments = ["upgrade", release, str(chart), "--install"]
        arguments += ["--create-namespace"] if create_namespace else []
        arguments += ["--values", str(values), "--hide-notes", "--take-ownership"]
        arguments += ["--namespace", namespace, "--output", "json"]
        try:
            text = self._run(arguments)
        except HelmError as error:
            if _OWN_NAMESPACE not in str(error):
                raise
            text = self._run(arguments)
        return _facts(json.loads(text))

    def find(self, release: str, namespace: str) -> ReleaseFacts | None:
        """Return a release, None when there is none. Raises: HelmError."""
        arguments = ["list", "--filter", f"^{release}$", "--namespace", namespace]
        for found in json.loads(self._run([*arguments, "--output", "json"])):
            return ReleaseFacts(
                name=found["name"],
                namespace=found["namespace"],
                revision=int(found["revision"]),
                status=found["status"],
                chart=found["chart"],
            )
        return None

    def uninstall(self, release: str, namespace: str) -> bool:
        """Remove a release and return whether there was one. Raises: HelmError."""
        if self.find(release, namespace) is None:
            return False
        self._run(["uninstall", release, "--ignore-not-found", "--namespace", namespace])
        return True

    def _run(self, arguments: list[str]) -> str:
        environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self._folder),
            "HELM_CACHE_HOME": str(self._folder / "cache"),
            "HELM_CONFIG_HOME": str(self._folder / "config"),
            "HELM_DATA_HOME": str(self._folder / "data"),
        }
        try:
            done = subprocess.run(
                [str(self._program), *arguments, "--kubeconfig", str(self.kubeconfig)],
                env=environment,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=self._seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise HelmError(f"helm {arguments[0]} did not end in {self._seconds:.0f} s") from error
        except OSError as error:
            raise HelmError(f"helm does not start: {error.strerror}") from error
        if done.returncode != 0:
            raise HelmError(f"helm {arguments[0]} failed: {done.stderr.strip()[-1500:]}")
        return done.stdout


def _facts(document: dict[str, Any]) -> ReleaseFacts:
    """Keep the facts; the document also holds every value, secrets among them."""
    chart = document["chart"]["metadata"]
    return ReleaseFacts(
        name=document["name"],
        namespace=document["namespace"],
        revision=int(document["version"]),
        status=document["info"]["status"],
        chart=f"{chart['name']}-{chart['version']}",
    )
