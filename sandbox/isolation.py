"""Hide a folder from a process: the customer's key from everything that is ours.

Used by `sandbox.parts`. The part runs in a user and mount namespace of its own in which an empty
file system lies over the folder, and without the capabilities to lift it; reaching around it by
another process's /proc entry is refused, since that process is in an outer user namespace.
Where user namespaces are missing, the fallback is file mode 0600 alone, and the record says so.
"""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

HIDE = (
    'mount -t tmpfs -o size=4k,mode=0700 none "$1" && shift && '
    "exec setpriv --pdeathsig TERM --no-new-privs --bounding-set=-all --inh-caps=-all "
    '--ambient-caps=-all -- "$@"'
)


@cache
def namespaces_available() -> bool:
    """Tell whether an unprivileged user and mount namespace can be made here."""
    run = subprocess.run(["unshare", "-Urm", "true"], capture_output=True, check=False)
    return run.returncode == 0


def dies_with_parent(argv: list[str], signal_name: str = "TERM") -> list[str]:
    """Return the command with a parent death signal, so that a killed supervisor leaves nothing."""
    return ["setpriv", "--pdeathsig", signal_name, "--", *argv]


def hiding(folder: Path, argv: list[str]) -> list[str]:
    """Return the command as one that cannot see into `folder`, and dies with its parent."""
    if not namespaces_available():
        return dies_with_parent(argv)
    return ["unshare", "-Urm", "--", "sh", "-c", HIDE, "sh", str(folder), *argv]
