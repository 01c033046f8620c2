"""One pod on this node, from its binding to its removal.

Called by the agent, one runner per pod uid. Separate from the container, which knows nothing of
networks, volumes and the pod's status.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from sandbox.cluster.settings import ClusterSettings
from sandbox.net.commands import NetError
from sandbox.node import podfiles
from sandbox.node.api import Api, ApiError, Object
from sandbox.node.container import Container, dump, timestamp
from sandbox.node.events import Events
from sandbox.node.identity import IdentityUnavailable, PodIdentity
from sandbox.node.network import PodNetwork
from sandbox.node.process import Launch
from sandbox.node.pulls import ImagePulls
from sandbox.node.starting import Start, make_launch
from sandbox.node.status import pod_status
from sandbox.node.storage import Storage
from sandbox.node.volumes import VolumeError, Volumes

SETTLE_SECONDS = 0.01
WAIT_SECONDS = 0.15
REFRESH_SECONDS = 10.0


@dataclass(frozen=True)
class Services:
    """What every runner uses of the agent."""

    settings: ClusterSettings
    api: Api
    network: PodNetwork
    storage: Storage
    identity: PodIdentity
    pulls: ImagePulls
    events: Events
    objects: Callable[[str], Iterable[Object]]
    base_environment: dict[str, str]
    own_processes: bool


class PodRunner:
    """Runs one pod and writes its status."""

    def __init__(self, services: Services, pod: Object) -> None:
        self.pod = pod
        self.uid: str = pod["metadata"]["uid"]
        self._of = services
        self._spec_pod = copy.deepcopy(pod)
        self.address: str | None = None
        self.init: list[Container] = []
        self.main: list[Container] = []
        self._volumes: Volumes | None = None
        self._initialized = False
        self._message: tuple[str, str] | None = None
        self._started_at = (pod.get("status") or {}).get("startTime") or timestamp()
        self.ended = asyncio.Event()
        self._dirty = asyncio.Event()
        self._deleted = asyncio.Event()
        self._gone = False
        self._leaving = False
        self._attaching: asyncio.Task[str] | None = None
        self._grace = 0.0
        self._sent: Object = {}

    @property
    def volatile(self) -> Path:
        return self._of.settings.volatile / "pods" / self.uid

    @property
    def durable(self) -> Path:
        return self._of.settings.data / "pods" / self.uid

    @property
    def logs(self) -> Path:
        meta = self.pod["metadata"]
        folder = f"{meta['namespace']}_{meta['name']}_{self.uid[:8]}"
        return self._of.settings.logs / "pods" / folder

    def update(self, pod: Object | None) -> None:
        """Take in the object's present state; None means it is gone from the API."""
        if pod is None:
            self._gone = True
            self._grace = 0.0
            self._deleted.set()
            return
        self.pod = pod
        if pod["metadata"].get("deletionTimestamp"):
            self._grace = float(pod["metadata"].get("deletionGracePeriodSeconds") or 0)
            self._deleted.set()

    async def shut_down(self, seconds: float) -> None:
        """End the processes because the node stops; the object stays and runs again later."""
        self._leaving = True
        await asyncio.gather(*(c.stop(seconds) for c in [*self.init, *self.main]))

    async def run(self) -> None:
        """Run the pod to its end and clean up after it."""
        work = asyncio.create_task(self._work())
        writing = asyncio.create_task(self._write_status())
        deleted = asyncio.create_task(self._deleted.wait())
        try:
            await asyncio.wait({work, deleted}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                await work
                await self._detach()
            await deleted
            await asyncio.gather(*(c.stop(self._grace) for c in [*self.init, *self.main]))
        finally:
            deleted.cancel()
            work.cancel()
            await asyncio.wait({work})
            # Harmless after a proper end; after a fault nothing may run on unseen.
            await asyncio.gather(*(c.stop(0) for c in [*self.init, *self.main]))
            writing.cancel()
            await self._detach()
        if not self._gone:
            await self._finish()
        await asyncio.to_thread(self._remove_files)

    async def _detach(self) -> None:
        # When the node stops, its namespaces end with it.
        if self._leaving:
            return
        if self._attaching is not None:
            await asyncio.wait({self._attaching})
        await self._of.network.detach(self.uid)

    def _remove_files(self) -> None:
        for folder in (self.durable, self.volatile):
            shutil.rmtree(folder, ignore_errors=True)

    async def _finish(self) -> None:
        """Report the last states and take the object out of the API."""
        with contextlib.suppress(ApiError):
            await self._send_status()
        meta = self.pod["metadata"]
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "gracePeriodSeconds": 0,
            "preconditions": {"uid": self.uid},
        }
        while True:
            try:
                await self._of.api.request("DELETE", _path(meta), body)
                return
            except ApiError as error:
                if error.status in (404, 409):
                    return
                print(f"delete {meta['name']}: {error}", flush=True)
            # A pod nobody takes out of the API would stay Terminating for ever.
            await asyncio.sleep(1)

    async def _work(self) -> None:
        pod = self._spec_pod
        status = pod.get("status") or {}
        if status.get("phase") in ("Succeeded", "Failed"):
            self._gone_quiet()
            return
        policy = pod["spec"].get("restartPolicy", "Always")
        await self._prepare(pod)
        self._make_containers(pod, status)
        if policy == "Never" and _was_running(status):
            self._lost()
            return
        self._dirty.set()
        refreshing = asyncio.create_task(self._refresh())
        try:
            if await self._run_init(policy):
                self._initialized = True
                self._dirty.set()
                await asyncio.gather(*(container.run(policy) for container in self.main))
        finally:
            refreshing.cancel()
        self._dirty.set()

    def _gone_quiet(self) -> None:
        self._sent = dict(self.pod.get("status") or {})

    def _lost(self) -> None:
        """A pod that may not restart lost its process with the node."""
        for container in self.main:
            container.state = container.last or {
                "terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown"}
            }
        self._message = ("NodeLost", "the node restarted while the pod ran")
        self._dirty.set()

    async def _prepare(self, pod: Object) -> None:
        """Attach the network and make the volumes, waiting for what is not there yet."""
        while self.address is None:
            try:
                self._attaching = asyncio.create_task(self._of.network.attach(self.uid))
                # Shielded: a namespace that is half made could not be removed again.
                self.address = await asyncio.shield(self._attaching)
            except NetError as error:
                await self._wait("FailedCreatePodSandBox", error)
                await asyncio.sleep(1)
        await self._add_identity(pod)
        self._volumes = Volumes(
            api=self._of.api,
            fetch=self._fetch,
            pod=pod,
            address=self.address,
            durable=self.durable,
            volatile=self.volatile / "volumes",
            claim_path=self._of.storage.claim_path,
        )
        while True:
            try:
                await self._volumes.prepare()
                return
            except VolumeError as error:
                await self._wait("FailedMount", error)
                await asyncio.sleep(WAIT_SECONDS)

    async def _wait(self, reason: str, error: Exception) -> None:
        await self._of.events.warn("Pod", self.pod, reason, str(error))

    async def _add_identity(self, pod: Object) -> None:
        while True:
            try:
                await self._of.identity.inject(pod)
                return
            except IdentityUnavailable as error:
                await self._wait("PodIdentityUnavailable", error)
                await asyncio.sleep(1)

    def _make_containers(self, pod: Object, status: Object) -> None:
        known = {
            item["name"]: item
            for field in ("initContainerStatuses", "containerStatuses")
            for item in status.get(field) or ()
        }
        assert self.address is not None
        for field, target in (("initContainers", self.init), ("containers", self.main)):
            for spec in pod["spec"].get(field) or ():
                container = Container(
                    pod,
                    spec,
                    namespace=self._of.network.namespace(self.uid),
                    scratch=self.volatile,
                    logs=self.logs,
                    address=self.address,
                    launch=self._launch,
                    changed=self._dirty.set,
                )
                container.restore(known.get(spec["name"]))
                target.append(container)

    async def _run_init(self, policy: str) -> bool:
        again = "Never" if policy == "Never" else "OnFailure"
        for container in self.init:
            if await container.run(again) != 0:
                return False
        return True

    async def _fetch(self, kind: str, name: str) -> Object | None:
        namespace = self.pod["metadata"]["namespace"]
        try:
            return await self._of.api.request(
                "GET", f"/api/v1/namespaces/{namespace}/{kind}/{name}"
            )
        except ApiError as error:
            if error.status == 404:
                return None
            raise VolumeError(str(error)) from error

    async def _launch(self, spec: Object) -> Launch:
        """Resolve everything one start of a container needs, with volumes as they are now."""
        assert self.address is not None
        assert self._volumes is not None
        await self._of.pulls.require(self.pod["spec"]["nodeName"], spec["image"])
        await self._volumes.prepare()
        return await make_launch(
            Start(
                settings=self._of.settings,
                pod=self._spec_pod,
                spec=spec,
                address=self.address,
                volumes=self._volumes,
                fetch=self._fetch,
                services=list(self._of.objects("services")),
                hosts=self._hosts(),
                base=self._of.base_environment,
                folder=self.volatile,
                own_processes=self._of.own_processes,
            )
        )

    def _hosts(self) -> str:
        assert self.address is not None
        return podfiles.hosts(
            self._spec_pod,
            self.address,
            self._of.objects("services"),
            self._of.objects("endpointslices"),
        )

    def refresh_hosts(self) -> None:
        """Write `/etc/hosts` of the running containers again."""
        if self.address is None:
            return
        table = self._hosts()
        for container in [*self.init, *self.main]:
            folder = self.volatile / f"etc-{container.name}"
            if folder.is_dir():
                podfiles.write_hosts(folder, table)

    async def _refresh(self) -> None:
        assert self._volumes is not None
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                await self._volumes.prepare()
            except VolumeError as error:
                await self._wait("FailedMount", error)

    async def _write_status(self) -> None:
        while True:
            await self._dirty.wait()
            await asyncio.sleep(SETTLE_SECONDS)
            self._dirty.clear()
            try:
                await self._send_status()
            except ApiError as error:
                if error.status in (404, 409):
                    continue
                print(f"status of {self.pod['metadata']['name']}: {error}", flush=True)
                await asyncio.sleep(1)
                self._dirty.set()

    async def _send_status(self) -> None:
        if not self.main or self._leaving:
            return
        status = pod_status(
            self.pod,
            self._sent,
            self.init,
            self.main,
            address=self.address,
            started_at=self._started_at,
            initialized=self._initialized or not self.init,
            message=self._message,
        )
        if dump(status) == dump(self._sent):
            return
        patch = {"metadata": {"uid": self.uid}, "status": status}
        await self._of.api.request("PATCH", _path(self.pod["metadata"]) + "/status", patch)
        self._sent = status


def _path(meta: Object) -> str:
    return f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"


def _was_running(status: Object) -> bool:
    return any(
        "running" in (item.get("state") or {}) for item in status.get("containerStatuses") or ()
    )
