"""Run `ip` and `nft` inside the cluster's namespace, without ever blocking the event loop.

Called by the cluster's supervisor and the node agent. Separate so that a missing program is named
once, with what to do about it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

from sandbox import host_packages


class NetError(RuntimeError):
    """A network command failed or is missing; the message carries its own error text."""


def find_nft() -> Path:
    """Return the `nft` program, installed or unpacked into the cache.

    Raises: NetError with the way to get it.
    """
    try:
        return host_packages.find_nft()[0]
    except host_packages.HostPackageError as error:
        raise NetError(f"emulated clusters enforce network policies by nft: {error}") from error


def find_ip() -> Path:
    """Return the `ip` program.

    Raises: NetError with the way to get it.
    """
    found = shutil.which("ip", path=host_packages.search_path())
    if found is None:
        raise NetError("ip is missing: install the package iproute2")
    return Path(found)


def _environment(program: str) -> dict[str, str]:
    environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C"}
    if program.endswith("/nft"):
        # One unpacked into the cache brings its libraries.
        environment |= host_packages.find_nft()[1]
    return environment


async def run(command: list[str], text: str = "") -> str:
    """Run a command with text on its standard input and return its output.

    Raises: NetError with the command's error text.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=_environment(command[0]),
    )
    out, err = await process.communicate(text.encode())
    if process.returncode != 0:
        reason = err.decode(errors="replace").strip()
        raise NetError(f"{' '.join(command)} failed: {reason}")
    return out.decode()


async def ip_batch(lines: list[str], enter: list[str] | None = None) -> None:
    """Run `ip` sub-commands in order; `enter` is a command prefix that enters a namespace."""
    await run([*(enter or []), str(find_ip()), "-batch", "-"], "\n".join(lines) + "\n")


async def apply_ruleset(text: str) -> None:
    """Load an nft script in one transaction: all of it or nothing."""
    await run([str(find_nft()), "-f", "-"], text)
