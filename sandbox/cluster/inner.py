"""The supervisor inside the namespace: network, forwarders, Kubernetes servers, node agent.

Started by `sandbox.cluster.outer` under `unshare`, as process 1 of its own process namespace:
when it ends, the kernel ends everything else in the cluster. Its standard input is a pipe held by
the host-side process; end of file there means stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from sandbox.cluster import components, forward
from sandbox.cluster.bootstrap import OBJECTS
from sandbox.cluster.client import AdminClient
from sandbox.cluster.errors import ClusterError
from sandbox.cluster.processes import Supervised, agent_environment, tail
from sandbox.cluster.settings import (
    API_PORT,
    AWS_ADDRESS,
    CONTROL_PLANE_ADDRESS,
    IDENTITY_ADDRESS,
    LOAD_BALANCER_ADDRESS,
    NODE_ADDRESS,
    SERVICE_RANGE,
    ClusterSettings,
    read_settings,
    write_private,
)
from sandbox.net.commands import NetError, apply_ruleset
from sandbox.net.namespace import mount_tmpfs, set_up_node
from sandbox.net.ruleset import Network, render

ADDRESSES = [
    NODE_ADDRESS,
    AWS_ADDRESS,
    CONTROL_PLANE_ADDRESS,
    LOAD_BALANCER_ADDRESS,
    IDENTITY_ADDRESS,
]
READY_SECONDS = 90.0
REAP_SECONDS = 2.0
AGENT_STOP_SECONDS = 5.0
SERVER_STOP_SECONDS = 1.0


class Supervisor:
    """Everything that runs inside one cluster's namespace."""

    def __init__(self, settings: ClusterSettings) -> None:
        self.settings = settings
        self.admin = AdminClient(settings.pki, (NODE_ADDRESS, API_PORT))
        self.parts: dict[str, Supervised] = {}
        self.stopping = asyncio.Event()

    async def prepare(self) -> None:
        """Set up addresses, the deny-by-default ruleset, the tmpfs and the forwarders."""
        settings = self.settings
        await set_up_node(ADDRESSES, SERVICE_RANGE)
        await apply_ruleset(render(Network()))
        await mount_tmpfs(settings.volatile)
        to_api = forward.forwarder(forward.to_tcp(NODE_ADDRESS, API_PORT))
        await forward.serve_unix(settings.socket("api"), to_api)
        await forward.serve_unix(settings.socket("net"), forward.handle_connect)
        await forward.serve_unix(settings.socket("in"), self._control)
        for address, path in (
            (AWS_ADDRESS, settings.gate_socket),
            (CONTROL_PLANE_ADDRESS, settings.api_socket),
        ):
            if path is not None:
                handler = forward.forwarder(forward.to_unix(path))
                await asyncio.start_server(handler, address, 80)

    def start(self, component: components.Component) -> None:
        part = Supervised(component, self.settings.logs)
        self.parts[component.name] = part
        part.start()

    async def run(self) -> None:
        """Start everything, report readiness on standard output, and wait for the end."""
        await self.prepare()
        settings = self.settings
        self.start(components.etcd(settings))
        self.start(components.api_server(settings))
        # Early: it imports its libraries while the API server starts.
        self.start(
            components.Component(
                "node-agent",
                [sys.executable, "-m", "sandbox.node.main", settings.data_dir],
                agent_environment(),
            )
        )
        await self._wait_ready()
        for path, body in OBJECTS:
            await asyncio.to_thread(self._ensure, path, body)
        self.start(components.controller_manager(settings))
        self.start(components.scheduler(settings))
        print("READY", flush=True)
        # Not earlier: it would take the exit codes of the commands that set up the network.
        reaping = asyncio.create_task(self.reap())
        await self.stopping.wait()
        reaping.cancel()

    async def _wait_ready(self) -> None:
        deadline = asyncio.get_running_loop().time() + READY_SECONDS
        while not await asyncio.to_thread(self.admin.ready):
            for name in ("etcd", "kube-apiserver"):
                if self.parts[name].restarts > 2:
                    log = self.settings.logs / f"{name}.log"
                    raise ClusterError(f"{name} does not stay up; see {log}:\n{tail(log)}")
            if asyncio.get_running_loop().time() > deadline:
                log = self.settings.logs / "kube-apiserver.log"
                raise ClusterError(
                    f"kube-apiserver was not ready after {READY_SECONDS:.0f} s; see {log}:\n"
                    + tail(log)
                )
            await asyncio.sleep(0.05)

    def _ensure(self, path: str, body: dict[str, Any]) -> None:
        status, raw = self.admin.send("POST", path, body)
        if status == 409 and body["kind"] == "ClusterRole":
            name = body["metadata"]["name"]
            status, raw = self.admin.send("PATCH", f"{path}/{name}", {"rules": body["rules"]})
        if status >= 400 and status != 409:
            raise ClusterError(f"POST {path}: {status} {raw.decode(errors='replace')[:300]}")

    async def _control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one JSON line: nodes of one group come or go, or tasks are to be run."""
        try:
            request = json.loads(await reader.readline())
            answer = self._tasks() if request["op"] == "host_tasks" else self._nodes(request)
        except (ValueError, KeyError, TypeError) as error:
            answer = {"error": f"bad request: {error!r}"}
        with contextlib.suppress(ConnectionError):
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        await forward.close(writer)

    def _tasks(self) -> dict[str, Any]:
        """Start what runs tasks, once: a cluster that runs none does not pay for it."""
        if "tasks" not in self.parts:
            command = [sys.executable, "-m", "sandbox.cluster.tasks", self.settings.data_dir]
            self.start(components.Component("tasks", command, agent_environment()))
        return {"ok": True}

    def _nodes(self, request: dict[str, Any]) -> dict[str, Any]:
        path = self.settings.data / "nodes.json"
        groups = json.loads(path.read_text()) if path.exists() else {}
        if request["op"] == "add_nodes":
            groups[request["nodegroup"]] = {
                key: request[key] for key in ("count", "labels", "taints", "resources")
            }
        elif request["op"] == "remove_nodes":
            groups.pop(request["nodegroup"], None)
        else:
            raise ValueError(f"op {request['op']!r} is unknown")
        write_private(path, json.dumps(groups, indent=1, sort_keys=True).encode())
        agent = self.parts.get("node-agent")
        if agent is not None:
            agent.send_signal(signal.SIGHUP)
        return {"ok": True}

    async def stop(self) -> None:
        """Stop pods and tasks with what runs them, then the servers, then their store."""
        agents = [self.parts[name] for name in ("node-agent", "tasks") if name in self.parts]
        await asyncio.gather(*(agent.stop(AGENT_STOP_SECONDS) for agent in agents))
        apart = ("node-agent", "tasks", "etcd")
        servers = [part for name, part in self.parts.items() if name not in apart]
        # The API server would wait a minute for its clients.
        await asyncio.gather(*(part.stop(SERVER_STOP_SECONDS) for part in servers))
        if "etcd" in self.parts:
            await self.parts["etcd"].stop(AGENT_STOP_SECONDS)

    async def reap(self) -> None:
        """Collect orphans for ever."""
        while True:
            await asyncio.sleep(REAP_SECONDS)
            collect_orphans({part.pid for part in self.parts.values()})


def collect_orphans(own: set[int | None]) -> None:
    """Collect ended processes that are not ours: process 1 inherits all without a parent."""
    with contextlib.suppress(ChildProcessError):
        while found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if found.si_pid in own:
                break
            os.waitpid(found.si_pid, os.WNOHANG)


async def _lifeline(stopping: asyncio.Event) -> None:
    """Set the event when the host-side process closes our standard input or dies."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()
    stopping.set()


async def _main(settings: ClusterSettings) -> int:
    supervisor = Supervisor(settings)
    # Inherited by the node agent: a reload that comes before its handler must not end it.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, supervisor.stopping.set)
    lifeline = asyncio.create_task(_lifeline(supervisor.stopping))
    running = asyncio.create_task(supervisor.run())
    stop = asyncio.create_task(supervisor.stopping.wait())
    await asyncio.wait({running, stop}, return_when=asyncio.FIRST_COMPLETED)
    code = 0
    if running.done() and running.exception() is not None:
        error = running.exception()
        if not isinstance(error, ClusterError | NetError | OSError):
            assert error is not None
            raise error
        print(f"FAILED {json.dumps(str(error))}", flush=True)
        code = 1
    running.cancel()
    await supervisor.stop()
    lifeline.cancel()
    return code


def main() -> int:
    settings = read_settings(Path(sys.argv[1]))
    os.umask(0o077)
    return asyncio.run(_main(settings))


if __name__ == "__main__":
    sys.exit(main())
