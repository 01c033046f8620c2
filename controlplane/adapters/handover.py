"""What one adapter hands to another's child process: private files and where to get credentials.

Used by the engine, the credential broker, the cluster reach and helm. Separate because secrets
cross to a child only this way: as a 0600 file that is named, never in arguments or environment.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CredentialEndpoint:
    """Where the AWS SDKs ask for credentials (container-credentials protocol): the broker."""

    uri: str
    token_file: Path


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, from its first byte, replacing it atomically."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
    temporary.replace(path)
