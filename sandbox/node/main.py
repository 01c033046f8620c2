"""The node agent of one emulated cluster: composition root.

Started by the cluster's supervisor inside the namespace, one process for all nodes. SIGHUP reads
the wanted node groups again; SIGTERM ends it and with it every container.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import Any

from sandbox.cluster.components import SERVER
from sandbox.cluster.settings import ClusterSettings, read_settings
from sandbox.node.api import Api, ApiError, Cache, Object, OnChange
from sandbox.node.balancers import Balancers
from sandbox.node.container import Container
from sandbox.node.events import Events
from sandbox.node.identity import PodIdentity
from sandbox.node.logs import LogServer
from sandbox.node.network import PodNetwork
from sandbox.node.nodes import Nodes
from sandbox.node.pods import PodRunner, Services
from sandbox.node.pulls import ImagePulls
from sandbox.node.storage import Storage

WATCHED = {
    "pods": "/api/v1/pods",
    "services": "/api/v1/services",
    "namespaces": "/api/v1/namespaces",
    "persistentvolumeclaims": "/api/v1/persistentvolumeclaims",
    "persistentvolumes": "/api/v1/persistentvolumes",
    "endpointslices": "/apis/discovery.k8s.io/v1/endpointslices",
    "networkpolicies": "/apis/networking.k8s.io/v1/networkpolicies",
}
ON_NETWORK = ("services", "namespaces", "endpointslices", "networkpolicies")
API_SECONDS = 0.05
HOSTS_SECONDS = 0.05
DRAIN_SECONDS = 5
KEPT_LOGS = 200
SHUTDOWN_SECONDS = 2.0


class Agent:
    """Holds the caches and one runner per pod of its nodes."""

    def __init__(self, settings: ClusterSettings) -> None:
        self.settings = settings
        self.api = Api(settings.pki, SERVER)
        self.caches = {
            kind: Cache(self.api, path, self._watcher(kind)) for kind, path in WATCHED.items()
        }
        self.events = Events(self.api)
        self.runners: dict[str, PodRunner] = {}
        self.nodes = Nodes(self.api, settings)
        self.network = PodNetwork(settings.volatile / "netns", self.objects, self._pod)
        self.storage = Storage(self.api, settings.data / "volumes", self.objects)
        self.balancers = Balancers(self.api, settings.socket("lb"), self.objects, self.events)
        self.identity = PodIdentity(settings)
        self.pulls = ImagePulls(settings)
        self.services = Services(
            settings=settings,
            api=self.api,
            network=self.network,
            storage=self.storage,
            identity=self.identity,
            pulls=self.pulls,
            events=self.events,
            objects=self.objects,
            base_environment=base_environment(),
            own_processes=_may_own_processes(),
        )
        self._finished: set[str] = set()
        self._stop = asyncio.Event()
        self.code = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._hosts_dirty = asyncio.Event()
        self._reload = asyncio.Event()

    def objects(self, kind: str) -> Iterable[Object]:
        return self.caches[kind].list()

    def _pod(self, uid: str) -> Object | None:
        runner = self.runners.get(uid)
        return runner.pod if runner else None

    def _container(self, namespace: str, pod: str, name: str) -> Container | None:
        for runner in self.runners.values():
            meta = runner.pod["metadata"]
            if (meta["namespace"], meta["name"]) == (namespace, pod):
                for container in [*runner.init, *runner.main]:
                    if container.name == name:
                        return container
        return None

    async def _wait_for_api(self) -> None:
        """Wait until the API server answers and knows this agent's role."""
        while True:
            try:
                await self.api.request("GET", "/api/v1/nodes?limit=1")
                return
            except ApiError:
                await asyncio.sleep(API_SECONDS)

    def _watcher(self, kind: str) -> OnChange:
        def changed(old: Object | None, new: Object | None) -> None:
            if kind == "pods":
                self._pod_changed(old, new)
            if kind in ON_NETWORK:
                self.network.touch()
            if kind in ("services", "endpointslices"):
                self._hosts_dirty.set()
            if kind == "services":
                self.balancers.touch()
            if kind.startswith("persistentvolume"):
                self.storage.touch()

        return changed

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        if old is not None and (new is None or _uid(new) != _uid(old)):
            self._finished.discard(_uid(old))
            runner = self.runners.get(_uid(old))
            if runner is not None:
                runner.update(None)
        if new is None:
            return
        runner = self.runners.get(_uid(new))
        if runner is None:
            # A finished pod may stay in the API for others' finalizers.
            known = _uid(new) in self._finished
            if new["spec"].get("nodeName") in self.nodes.names and not known:
                self._start_pod(new)
            return
        labels = runner.pod["metadata"].get("labels")
        runner.update(new)
        if new["metadata"].get("labels") != labels:
            self.network.touch()

    def _start_pod(self, pod: Object) -> None:
        runner = PodRunner(self.services, pod)
        self.runners[runner.uid] = runner
        runner.update(pod)
        self._spawn(self._run_pod(runner), f"pod {pod['metadata']['name']}")

    async def _run_pod(self, runner: PodRunner) -> None:
        try:
            await runner.run()
        finally:
            self.runners.pop(runner.uid, None)
            runner.ended.set()
            meta = runner.pod["metadata"]
            if (meta["namespace"], meta["name"]) in self.caches["pods"].objects:
                self._finished.add(runner.uid)

    def _spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        task: asyncio.Task[None] = asyncio.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            error = task.exception()
            print(f"{task.get_name()} failed: {error!r}", flush=True)
            asyncio.get_running_loop().call_exception_handler(
                {"message": task.get_name(), "exception": error}
            )
            if not task.get_name().startswith("pod "):
                # The supervisor starts a fresh agent; a half one would mislead.
                self.code = 1
                self._stop.set()

    async def _follow_hosts(self) -> None:
        while True:
            await self._hosts_dirty.wait()
            await asyncio.sleep(HOSTS_SECONDS)
            self._hosts_dirty.clear()
            for runner in list(self.runners.values()):
                runner.refresh_hosts()

    async def _follow_nodes(self) -> None:
        while True:
            await self._reload.wait()
            self._reload.clear()
            try:
                for name in await self.nodes.sync():
                    await self._drain(name)
                    await self.nodes.remove(name)
            except ApiError as error:
                print(f"nodes: {error}", flush=True)
                await asyncio.sleep(0.3)
                self._reload.set()
                continue
            # Pods may have been bound to a node before this agent knew of it.
            for pod in self.caches["pods"].list():
                self._pod_changed(None, pod)

    async def _drain(self, node: str) -> None:
        """Delete the pods of a node that goes away and wait for them."""
        for pod in self.caches["pods"].list():
            if pod["spec"].get("nodeName") == node:
                meta = pod["metadata"]
                path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"
                try:
                    await self.api.request("DELETE", path, {"gracePeriodSeconds": DRAIN_SECONDS})
                except ApiError as error:
                    if error.status != 404:
                        raise
        ending = [
            runner.ended.wait()
            for runner in self.runners.values()
            if runner.pod["spec"].get("nodeName") == node
        ]
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*ending), 2 * DRAIN_SECONDS)

    async def run(self) -> None:
        """Run until SIGTERM, or until a part of the agent fails."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload.set)
        self.network.clean()
        await asyncio.to_thread(prune_logs, self.settings.logs / "pods")
        await self.identity.start()
        await self.pulls.start()
        await LogServer(self.settings.pki, self._container).start()
        await self._wait_for_api()
        self._reload.set()
        for name, loop_of in (
            ("network", self.network.run()),
            ("storage", self.storage.run()),
            ("balancers", self.balancers.run()),
            ("hosts", self._follow_hosts()),
            ("nodes", self._follow_nodes()),
            ("heartbeat", self.nodes.heartbeat()),
        ):
            self._spawn(loop_of, name)
        for kind, cache in self.caches.items():
            self._spawn(cache.run(), f"watch {kind}")
        await self._stop.wait()
        # As a node that shuts down: databases get the chance to close their files.
        await asyncio.gather(
            *(runner.shut_down(SHUTDOWN_SECONDS) for runner in [*self.runners.values()])
        )
        for task in list(self._tasks):
            task.cancel()
        await self.api.close()
        await self.identity.close()
        await self.pulls.close()


def _uid(item: Object) -> str:
    return str(item["metadata"]["uid"])


def base_environment() -> dict[str, str]:
    """Return what every container gets: paths and thread limits of the host, never a secret."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in ("LANG", "LC_ALL", "TZ") or name.startswith(("OPENBLAS_", "OMP_"))
    }
    path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
    return {**kept, "PATH": path, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def prune_logs(folder: Path) -> None:
    """Delete the oldest pods' logs beyond a limit."""
    if folder.is_dir():
        found = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in found[KEPT_LOGS:]:
            shutil.rmtree(old, ignore_errors=True)


def _may_own_processes() -> bool:
    """Tell whether a fresh /proc may be mounted: some containers mask theirs."""
    probe = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "true"],
        stderr=subprocess.DEVNULL,
        check=False,
    )
    return probe.returncode == 0


def main() -> int:
    os.umask(0o077)
    settings = read_settings(Path(sys.argv[1]))

    async def run() -> int:
        agent = Agent(settings)
        await agent.run()
        return agent.code

    return asyncio.run(run())


if __name__ == "__main__":
    sys.exit(main())
