"""Fargate tasks inside one emulated network: containers of images, each in a namespace of its own.

Started by the cluster's supervisor when the account runs the first task, as `python -m
sandbox.cluster.tasks DATA_DIR`. Emulation: a task's namespace has no link at all. What it reaches
are listeners that this process holds inside it: the account's endpoint, the credentials endpoint
and, where security groups and endpoint access allow it, the cluster's private endpoint.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandbox.cluster import forward
from sandbox.cluster.settings import (
    API_PORT,
    AWS_ADDRESS,
    NODE_ADDRESS,
    ClusterSettings,
    read_settings,
)
from sandbox.net.commands import NetError, ip_batch
from sandbox.net.namespace import MNT_DETACH
from sandbox.node.environment import aws_variables
from sandbox.node.images import Image, ImageError, resolve
from sandbox.node.podfiles import write_etc
from sandbox.node.process import ContainerProcess, Launch, Mount, StartError
from sandbox.node.starting import ROOT, WORKDIR, visible_paths
from sandbox.toolchain import find_program

CREDENTIALS_ADDRESS = "169.254.170.2"
"""Where Amazon ECS serves a task's credentials."""
PROGRAMS = {"ringfence/runner": {"RUNNER_HELM": "helm"}}
"""What an image brings beside Python: variable that names the path, program of the toolchain."""
PROGRAM_FOLDER = "/opt/ringfence"
STOP_SECONDS = 5.0
_CLONE_NEWNET = 0x40000000


@dataclass
class Task:
    """One task as it runs."""

    identifier: str
    namespace: Path
    process: ContainerProcess | None = None
    servers: list[asyncio.Server] = field(default_factory=list)
    exit_code: int | None = None
    waiting: asyncio.Task[None] | None = None


class Tasks:
    """Every task of one network."""

    def __init__(self, settings: ClusterSettings) -> None:
        self._settings = settings
        self._folder = settings.volatile / "tasks"
        self._tasks: dict[str, Task] = {}

    async def serve(self) -> None:
        """Answer on the control socket."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        await forward.serve_unix(self._settings.socket("task"), self._control)

    async def close(self) -> None:
        """End every task."""
        await asyncio.gather(*(self._stop(one) for one in self._tasks.values()))

    async def _control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one JSON line: `run`, `stop` or `states`."""
        answer: dict[str, Any]
        try:
            request = json.loads(await reader.readline())
            answer = await self._do(request)
        except (ImageError, StartError, NetError, OSError) as error:
            answer = {"error": str(error)}
        except (ValueError, KeyError, TypeError) as error:
            answer = {"error": f"bad request: {error!r}"}
        with contextlib.suppress(ConnectionError):
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        await forward.close(writer)

    async def _do(self, request: dict[str, Any]) -> dict[str, Any]:
        if request["op"] == "states":
            return {"exit_codes": {name: one.exit_code for name, one in self._tasks.items()}}
        if request["op"] == "stop":
            if found := self._tasks.get(request["id"]):
                await self._stop(found)
            return {"ok": True}
        if request["op"] != "run":
            raise ValueError(f"op {request['op']!r} is unknown")
        if request["id"] not in self._tasks:
            await self._run(request)
        return {"ok": True}

    async def _run(self, request: dict[str, Any]) -> None:
        """Start a task. Raises: ImageError, StartError, NetError with what is wrong."""
        identifier = str(request["id"])
        image = resolve(str(request["image"]))
        task = Task(identifier, self._folder / f"{identifier}.net")
        self._tasks[identifier] = task
        try:
            await self._connect(task, request["private_port"])
            launch = await asyncio.to_thread(self._launch, identifier, image, request)
            log_path = self._settings.logs / f"task-{identifier}.log"
            with log_path.open("ab") as log:
                spec = self._folder / f"{identifier}.json"
                task.process = await ContainerProcess.start(launch, task.namespace, spec, log)
        except (StartError, NetError, OSError):
            del self._tasks[identifier]
            await self._disconnect(task)
            raise
        task.waiting = asyncio.create_task(self._wait(task))

    async def _connect(self, task: Task, private_port: int | None) -> None:
        """Make the task's namespace and what it can reach."""
        task.namespace.touch()
        unshare = shutil.which("unshare") or "/usr/bin/unshare"
        addresses = (AWS_ADDRESS, CREDENTIALS_ADDRESS)
        await ip_batch(
            ["link set lo up", *(f"addr add {one}/32 dev lo" for one in addresses)],
            enter=[unshare, f"--net={task.namespace}"],
        )
        gate = self._settings.gate_socket
        assert gate is not None, "tasks are run by the account, which is behind this socket"
        ways = [(address, 80, forward.to_unix(gate)) for address in addresses]
        if private_port is not None:
            # The name of a private endpoint leads to it only inside the network.
            ways.append(("127.0.0.1", private_port, forward.to_tcp(NODE_ADDRESS, API_PORT)))
        for address, port, connect in ways:
            listener = await asyncio.to_thread(_listen, task.namespace, address, port)
            handler = forward.forwarder(connect)
            task.servers.append(await asyncio.start_server(handler, sock=listener))

    def _launch(self, identifier: str, image: Image, request: dict[str, Any]) -> Launch:
        folder = self._folder / identifier
        etc = folder / "etc"
        write_etc(etc, identifier[:12], image.user, image.user, "task", "127.0.0.1 localhost\n")
        programs = PROGRAMS.get(image.name, {})
        paths = {name: find_program(program) for name, program in programs.items()}
        argv = [sys.executable if word == "python" else word for word in image.entrypoint]
        return Launch(
            root=str(folder / "root"),
            etc=str(etc),
            hostname=identifier[:12],
            visible=visible_paths(image),
            mounts=[Mount(str(p), f"{PROGRAM_FOLDER}/{p.name}", True) for p in paths.values()],
            argv=argv,
            env={
                "PATH": "/usr/bin:/bin",
                "HOME": WORKDIR,
                "PYTHONPATH": str(ROOT),
                "PYTHONUNBUFFERED": "1",
                **aws_variables(self._settings.region),
                **{name: f"{PROGRAM_FOLDER}/{path.name}" for name, path in paths.items()},
                **request["environment"],
                "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": request["credentials"],
            },
            workdir=WORKDIR,
            user=image.user,
            group=image.user,
            read_only_root=False,
        )

    async def _wait(self, task: Task) -> None:
        assert task.process is not None
        task.exit_code = await task.process.wait()
        await self._disconnect(task)

    async def _stop(self, task: Task) -> None:
        """SIGTERM, then SIGKILL, as a task is stopped."""
        if task.process is None or task.waiting is None or task.exit_code is not None:
            return
        task.process.signal(signal.SIGTERM)
        await asyncio.wait({task.waiting}, timeout=STOP_SECONDS)
        if task.exit_code is None:
            task.process.signal(signal.SIGKILL)
            await task.waiting

    async def _disconnect(self, task: Task) -> None:
        for server in task.servers:
            server.close()
        await asyncio.to_thread(_remove, task.namespace, self._folder / task.identifier)


def _listen(namespace: Path, address: str, port: int) -> socket.socket:
    """Return a listener inside another namespace; a socket stays in the one it was made in."""
    libc = ctypes.CDLL(None, use_errno=True)
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    other = os.open(namespace, os.O_RDONLY)
    try:
        _enter(libc, other)
        try:
            listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            try:
                listener.bind((address, port))
                listener.listen(64)
            except OSError:
                listener.close()
                raise
            return listener
        finally:
            _enter(libc, own)
    finally:
        os.close(own)
        os.close(other)


def _enter(libc: ctypes.CDLL, descriptor: int) -> None:
    if libc.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


def _remove(namespace: Path, folder: Path) -> None:
    ctypes.CDLL(None, use_errno=True).umount2(str(namespace).encode(), MNT_DETACH)
    namespace.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


async def _main(settings: ClusterSettings) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    tasks = Tasks(settings)
    await tasks.serve()
    await stopping.wait()
    await tasks.close()


def main() -> int:
    os.umask(0o077)
    asyncio.run(_main(read_settings(Path(sys.argv[1]))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
