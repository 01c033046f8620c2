"""The engine child's files and its environment, from an allow-list.

Called by `engine.py` before a child starts. Separate so that the list is in one place: what is not
built here does not reach the child, whatever the worker's own environment holds.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import controlplane
from controlplane.adapters.handover import CredentialEndpoint, write_private

# Programs that provider plugins and the CLI may call; none of them is taken from the worker's PATH.
_SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True)
class RunFolder:
    """The folders and files of one run; everything is for its owner only."""

    root: Path

    @property
    def work(self) -> Path:
        return self.root / "work"

    @property
    def pulumi_home(self) -> Path:
        return self.root / "pulumi-home"

    @property
    def pgpass(self) -> Path:
        return self.root / "pgpass"

    @property
    def identity(self) -> Path:
        return self.root / "engine.json"

    def prepare(self, plugins: Path, pgpass_line: str) -> None:
        """Create what the child needs; safe to repeat."""
        for folder in (self.root, self.work, self.pulumi_home, self.root / "tmp"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        link = self.pulumi_home / "plugins"
        if not link.is_symlink():
            # The engine skips single plugins that are links, but follows a linked folder.
            link.symlink_to(plugins.resolve(), target_is_directory=True)
        write_private(self.pgpass, pgpass_line)

    def remove(self) -> None:
        """Delete everything of the run, credentials first."""
        self.pgpass.unlink(missing_ok=True)
        shutil.rmtree(self.root, ignore_errors=True)


def child_environment(
    folder: RunFolder,
    *,
    region: str,
    aws_endpoint_url: str | None,
    credentials: CredentialEndpoint | None,
    passphrase_file: Path,
) -> dict[str, str]:
    """Return the child's whole environment; no value in it is a secret."""
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{_SYSTEM_PATH}",
        # The folder our own package was loaded from: the child runs the same code as the worker.
        "PYTHONPATH": str(Path(controlplane.__file__).resolve().parent.parent),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LANG": "C.UTF-8",
        "HOME": str(folder.root),
        "TMPDIR": str(folder.root / "tmp"),
        "PGPASSFILE": str(folder.pgpass),
        "PULUMI_HOME": str(folder.pulumi_home),
        "PULUMI_CONFIG_PASSPHRASE_FILE": str(passphrase_file),
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "AWS_REGION": region,
        "AWS_EC2_METADATA_DISABLED": "true",
        # The SDKs must not find credentials in files: only the broker gives them.
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
    if aws_endpoint_url:
        environment["AWS_ENDPOINT_URL"] = aws_endpoint_url
    if credentials:
        environment["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = credentials.uri
        environment["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] = str(credentials.token_file)
    return environment
