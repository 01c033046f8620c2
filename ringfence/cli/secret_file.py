"""Files for secrets that are shown once: made before the secret, readable by their owner only."""

from __future__ import annotations

import os
from pathlib import Path

from ringfence.cli.output import CommandError, Exit


def reserve(file: Path) -> None:
    """Make the secret's file before the secret, so that none is made that cannot be kept."""
    try:
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise CommandError(f"--file: {file}: {error.strerror}", Exit.USAGE) from error
