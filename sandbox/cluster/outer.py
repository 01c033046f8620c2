"""The host-side process of one emulated cluster: starts the namespace, holds load balancers.

Started by `start_cluster`, one per cluster, and found again over its control socket by
`attach_cluster`. It ends, and with it everything in the cluster, on `stop`, on SIGTERM, when its
owner process ends, or when the supervisor inside ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import IO, Any

from sandbox.cluster import components, forward
from sandbox.cluster.certificates import ensure_certificates
from sandbox.cluster.loadbalancers import LoadBalancers
from sandbox.cluster.processes import agent_environment
from sandbox.cluster.settings import ClusterSettings, read_settings, write_private

STOP_SECONDS = 15.0
ROOT = Path(__file__).resolve().parents[2]


class Host:
    """One cluster as the host sees it."""

    def __init__(self, settings: ClusterSettings, lock: int) -> None:
        self.settings = settings
        self._lock = lock
        self.stopping = asyncio.Event()
        self.settled = asyncio.Event()
        self.failure: str | None = None
        self.ready = False
        self._inside: asyncio.subprocess.Process | None = None

    async def run(self) -> int:
        """Run the cluster until something ends it; return the process's exit code."""
        settings = self.settings
        await asyncio.to_thread(ensure_certificates, settings.pki, settings.name)
        components.write_configuration(settings)
        await forward.serve_unix(settings.socket("host"), self._control)
        await LoadBalancers(settings).start()
        self._inside = await self._start_inside()
        reading = asyncio.create_task(self._read_inside(self._inside))
        owner = self._watch_owner()
        stop = asyncio.create_task(self.stopping.wait())
        ended = asyncio.create_task(self._inside.wait())
        await asyncio.wait({stop, ended}, return_when=asyncio.FIRST_COMPLETED)
        unexpected = not self.stopping.is_set()
        await self._end_inside(self._inside)
        await reading
        if unexpected and self.failure is None:
            self.failure = f"the cluster's supervisor ended; log: {settings.logs / 'cluster.log'}"
        self.settled.set()
        if owner is not None:
            asyncio.get_running_loop().remove_reader(owner)
            os.close(owner)
        for kind in ("api", "net", "in", "lb", "task", "host"):
            settings.socket(kind).unlink(missing_ok=True)
        return 1 if unexpected else 0

    async def _start_inside(self) -> asyncio.subprocess.Process:
        unshare = shutil.which("unshare") or "/usr/bin/unshare"
        proc = ["--mount-proc"] if await _may_mount_proc(unshare) else []
        return await asyncio.create_subprocess_exec(
            unshare,
            *("--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child"),
            *proc,
            sys.executable,
            *("-m", "sandbox.cluster.inner", self.settings.data_dir),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**agent_environment(), "PYTHONPATH": str(ROOT)},
            cwd="/",
            # Held until the last process inside is gone: two clusters on one store would ruin it.
            pass_fds=(self._lock,),
        )

    async def _read_inside(self, inside: asyncio.subprocess.Process) -> None:
        assert inside.stdout is not None
        async for raw in inside.stdout:
            line = raw.decode(errors="replace").rstrip()
            if line == "READY":
                self.ready = True
                self.settled.set()
            elif line.startswith("FAILED "):
                self.failure = json.loads(line.removeprefix("FAILED "))
                self.settled.set()
            print(line, flush=True)

    async def _end_inside(self, inside: asyncio.subprocess.Process) -> None:
        assert inside.stdin is not None
        inside.stdin.close()
        try:
            await asyncio.wait_for(inside.wait(), STOP_SECONDS)
        except TimeoutError:
            # --kill-child: process 1 of the namespace dies with it, and takes all the others.
            inside.kill()
            await inside.wait()

    def _watch_owner(self) -> int | None:
        if self.settings.owner_pid is None:
            return None
        try:
            descriptor = os.pidfd_open(self.settings.owner_pid)
        except ProcessLookupError:
            self.stopping.set()
            return None
        asyncio.get_running_loop().add_reader(descriptor, self.stopping.set)
        return descriptor

    async def _control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one JSON line: `wait` for the start's outcome, `ping`, or `stop`."""
        answer: dict[str, Any]
        try:
            operation = json.loads(await reader.readline())["op"]
        except (ValueError, KeyError, TypeError) as error:
            operation, answer = "", {"error": f"bad request: {error!r}"}
        if operation == "wait":
            await self.settled.wait()
        elif operation == "stop":
            self.stopping.set()
        elif operation != "ping":
            answer = {"error": f"op {operation!r} is unknown"}
            operation = ""
        if operation:
            answer = {"pid": os.getpid(), "ready": self.ready, "failure": self.failure}
        with contextlib.suppress(ConnectionError):
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        await forward.close(writer)


async def _may_mount_proc(unshare: str) -> bool:
    # Inside some containers /proc is masked, and a fresh one may not be mounted.
    probe = await asyncio.create_subprocess_exec(
        unshare,
        *("--user", "--map-root-user", "--mount", "--pid", "--fork", "--mount-proc", "true"),
        stderr=asyncio.subprocess.DEVNULL,
    )
    return await probe.wait() == 0


def _lock(settings: ClusterSettings) -> IO[str] | None:
    handle = (settings.data / "lock").open("w")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        return None
    return handle


async def _main(settings: ClusterSettings, lock: int) -> int:
    host = Host(settings, lock)
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(name, host.stopping.set)
    return await host.run()


def main() -> int:
    os.umask(0o077)
    settings = read_settings(Path(sys.argv[1]))
    held = _lock(settings)
    if held is None:
        print(f"cluster {settings.name!r} runs already in {settings.data_dir}", flush=True)
        return 3
    write_private(settings.data / "pid", f"{os.getpid()}\n".encode())
    try:
        return asyncio.run(_main(settings, held.fileno()))
    finally:
        (settings.data / "pid").unlink(missing_ok=True)
        held.close()


if __name__ == "__main__":
    sys.exit(main())
