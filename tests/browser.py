"""The browser of the console's tests: Chromium as the host has it, installed where we may.

`python -m tests.browser ensure` is called by `make test`; tests take the program and its switches
from here. Playwright's own download is not used: it is another build than the one packaged and
checked by the distribution.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

SETTING = "RINGFENCE_CHROMIUM"
NAMES = ("chromium", "chromium-browser", "google-chrome")
SWITCHES = (
    "--headless",
    "--no-sandbox",  # as root Chromium refuses its own sandbox; the pages are ours
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class BrowserMissingError(RuntimeError):
    """No Chromium is installed and none could be had; the message says what to do."""


def find() -> str:
    """Return the browser's program. Raises: BrowserMissingError."""
    named = os.environ.get(SETTING)
    if named:
        if shutil.which(named) is None:
            raise BrowserMissingError(f"{SETTING} names {named}, which is no program")
        return named
    for name in NAMES:
        if found := shutil.which(name):
            return found
    raise BrowserMissingError(
        f"Chromium is missing: install the package chromium, or name a program in {SETTING}"
    )


def ensure() -> str:
    """Install Chromium where it is missing and may be installed. Raises: BrowserMissingError."""
    try:
        return find()
    except BrowserMissingError:
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            raise
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"]
    last = ""
    for argv in (install, ["apt-get", "update", "-qq"], install):
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        )
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-5:])
        if shutil.which("chromium"):
            return find()
    raise BrowserMissingError(f"Chromium could not be installed:\n{last}")


def main() -> int:
    """Entry of `python -m tests.browser ensure`."""
    if sys.argv[1:] != ["ensure"]:
        print("usage: python -m tests.browser ensure", file=sys.stderr)
        return 2
    try:
        print(f"browser    {ensure()}", file=sys.stderr)
    except BrowserMissingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
