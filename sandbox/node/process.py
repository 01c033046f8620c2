"""One run of one container: the host process in its namespaces.

Called by the container runner. Separate from the restart logic, which starts many of these.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import shutil
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO

LAUNCHER = Path(__file__).with_name("launch.py")
START_SECONDS = 20.0


class StartError(RuntimeError):
    """The container's process could not be started: `StartError`, exit code 128."""


@dataclass(frozen=True)
class Mount:
    """A path of the host shown at a path of the container."""

    source: str
    target: str
    read_only: bool


@dataclass(frozen=True)
class Launch:
    """Everything the launcher needs; written to a private file that it deletes."""

    root: str
    etc: str
    hostname: str
    visible: list[str]
    mounts: list[Mount]
    argv: list[str]
    env: dict[str, str]
    workdir: str
    user: int
    group: int
    read_only_root: bool
    own_processes: bool = True


def _find(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        raise StartError(f"{program} is missing: install the package util-linux")
    return found


class ContainerProcess:
    """A started process; `pid` is its id as the agent sees it."""

    def __init__(self, outer: asyncio.subprocess.Process, pid: int) -> None:
        self._outer = outer
        self.pid = pid

    @classmethod
    async def start(
        cls, launch: Launch, namespace: Path, spec_file: Path, log: IO[bytes]
    ) -> ContainerProcess:
        """Start a container in a pod's network namespace; return once its image is executed.

        Raises: StartError with the launcher's reason.
        """
        Path(launch.root).mkdir(parents=True, exist_ok=True)
        descriptor = os.open(spec_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as handle:
            json.dump(dataclasses.asdict(launch), handle)
        read_end, write_end = os.pipe()
        kinds = ["--mount", "--uts", "--ipc", "--fork", "--kill-child"]
        if launch.own_processes:
            kinds.append("--pid")
        command = [
            *(_find("setpriv"), "--pdeathsig", "KILL"),
            *(_find("nsenter"), f"--net={namespace}"),
            *(_find("unshare"), *kinds),
            *(sys.executable, "-I", "-S", str(LAUNCHER), str(spec_file), str(write_end)),
        ]
        try:
            outer = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": "/usr/bin:/bin"},
                cwd="/",
                pass_fds=(write_end,),
                start_new_session=True,
            )
        finally:
            os.close(write_end)
        answer = await _first_line(read_end, outer)
        if answer != "OK":
            with contextlib.suppress(ProcessLookupError):
                outer.kill()
            await outer.wait()
            reason = answer.removeprefix("ERR ") or "the launcher ended without a word"
            raise StartError(reason)
        return cls(outer, _child(outer.pid))

    def signal(self, number: signal.Signals) -> None:
        """Signal the container's first process; SIGKILL there ends all its processes."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    async def wait(self) -> int:
        """Return the exit code as Kubernetes counts it: 128 + signal for a signal."""
        code = await self._outer.wait()
        return 128 - code if code < 0 else code

    async def execute(self, command: list[str], env: dict[str, str], seconds: float) -> int:
        """Run a command inside the container and return its exit code.

        Raises: TimeoutError after `seconds`.
        """
        # The user namespace last: entering it gives up the right to enter the others.
        starting = asyncio.create_subprocess_exec(
            *(_find("nsenter"), "--target", str(self.pid)),
            *("--mount", "--net", "--pid", "--uts", "--ipc", "--user", "--preserve-credentials"),
            *("--wd=/", "--", *command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env=env,
        )
        # Shielded: asyncio may hang when it is cancelled while a process starts.
        process = await asyncio.shield(starting)
        try:
            return await asyncio.wait_for(process.wait(), seconds)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            raise


def _child(pid: int) -> int:
    """Return the only child of `unshare`, or its own id when it has ended already."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if children:
            return int(children[0])
    return pid


async def _first_line(descriptor: int, outer: asyncio.subprocess.Process) -> str:
    """Read the launcher's one line; empty when it ended without one."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", 0)
    )
    try:
        line = asyncio.create_task(reader.readline())
        ended = asyncio.create_task(outer.wait())
        await asyncio.wait({line, ended}, timeout=START_SECONDS, return_when="FIRST_COMPLETED")
        if not line.done() and not ended.done():
            return f"ERR no start after {START_SECONDS:.0f} s"
        try:
            raw = await asyncio.wait_for(line, 1)
        except TimeoutError:
            raw = b""
        return raw.decode(errors="replace").strip()
    finally:
        ended.cancel()
        transport.close()
