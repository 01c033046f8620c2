"""Find every secret of a sandbox, and every place where one must not be.

Used by the end-to-end test. The generated secrets are their own canaries: each is random, so any
trace of one is a leak.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

MINIMUM = 20


def known_secrets(home: Path) -> dict[str, str]:
    """Return name -> secret: tokens, passwords, cloud keys and the bodies of private keys."""
    found: dict[str, str] = {}
    for path in sorted((home / "secrets").rglob("*")):
        if not path.is_file():
            continue
        name = str(path.relative_to(home / "secrets"))
        text = path.read_text().strip()
        if path.suffix == ".pem":
            lines = [line for line in text.splitlines() if not line.startswith("-----")]
            found[name] = "".join(lines)[-40:]
        elif name.startswith("aws/") and text.startswith("{"):
            found[name] = json.loads(text)["secret_access_key"]
        elif "\n" not in text and len(text) >= MINIMUM and "://" not in text:
            found[name] = text
    return found


def record_processes() -> None:
    """Write argv and environment of every process of this sandbox to the file in argv[1]."""
    home = os.environ["RINGFENCE_HOME"]
    rows: list[dict[str, Any]] = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            argv = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            environment = (folder / "environ").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if home in environment or any(home in part for part in argv):
            if "sandbox.demo" in argv or argv[0] in ("sh", "unshare"):
                continue
            rows.append({"pid": int(folder.name), "argv": argv, "environment": environment})
    Path(sys.argv[1]).write_text(json.dumps(rows))


def traces_of(
    secrets: dict[str, str], home: Path, output: Path, processes: list[dict[str, Any]]
) -> list[str]:
    """Return where a secret was found outside its own 0600 file; names only, never the secret."""
    found: list[str] = []
    places: list[tuple[str, str]] = [
        (str(path), path.read_bytes().decode(errors="replace"))
        for root in (home / "logs", home / "data" / "aws", home / "data" / "worker", output)
        if root.exists()
        for path in sorted(root.rglob("*"))
        if path.is_file() and _may_not_hold_secrets(path)
    ]
    for row in processes:
        text = "\0".join(row["argv"]) + row["environment"]
        places.append((f"process {row['pid']} {row['argv'][:4]}", text))
    for place, text in places:
        found += [f"{name} in {place}" for name, secret in secrets.items() if secret in text]
    return found


def _may_not_hold_secrets(path: Path) -> bool:
    # The emulated account's own stores and a cluster's own keys and volumes are the customer's.
    parts = set(path.parts)
    own = {"pki", "volumes", "etcd", "pods"} & parts
    return not (own and path.suffix != ".log") and path.name != "processes.json"
