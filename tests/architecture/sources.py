"""The tree as the architecture tests read it."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (
    "wire",
    "iam",
    "proof",
    "controlplane",
    "blueprints",
    "operators",
    "agent",
    "gateway",
    "runner",
    "countersigner",
    "ringfence",
    "sandbox",
)


@cache
def tracked(*suffixes: str) -> tuple[Path, ...]:
    """Return the files that git knows or would add, with one of these suffixes (all if none)."""
    run = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    paths = (ROOT / name for name in run.stdout.split("\0") if name)
    return tuple(sorted(p for p in paths if p.is_file() and (not suffixes or p.suffix in suffixes)))


def product_sources() -> tuple[Path, ...]:
    """Return the Python files of the product, without tests."""
    return tuple(p for p in tracked(".py") if p.relative_to(ROOT).parts[0] in PACKAGES)


def name_of(path: Path) -> str:
    """Return a path as it is written in messages."""
    return str(path.relative_to(ROOT))
