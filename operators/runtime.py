"""The operator as one object: reflectors that always run, controllers that run while it leads.

Built by `operators.main` and by the tests against a real API server.
"""

from __future__ import annotations

import asyncio

from operators.access.controller import AccessReconciler
from operators.adapter.controller import BindingReconciler
from operators.artifact.controller import ArtifactReconciler
from operators.boundary.controller import BoundaryReconciler
from operators.core.api import KubernetesApi
from operators.core.controller import Controller, Reconciler
from operators.core.metrics import Metrics
from operators.core.reflector import Reflector
from operators.core.writer import Writer
from operators.engines.prober import EngineProber
from operators.instance.controller import InstanceReconciler
from operators.settings import Settings
from operators.view import View
from operators.wiring import connect


class Operator:
    """Caches, queues and reconcilers of one process."""

    def __init__(self, api: KubernetesApi, settings: Settings, metrics: Metrics) -> None:
        self.settings = settings
        self.metrics = metrics
        self.view = View()
        self.reflectors = {
            selection.type.kind: Reflector(api, selection, cache, metrics)
            for selection, cache in self.view.selections(settings)
        }
        self._caches = [cache for _, cache in self.view.selections(settings)]
        view = self.view
        self.controllers = {
            kind: Controller(kind, cache, metrics)
            for kind, cache in (
                ("SecurityBoundary", view.boundaries),
                ("ModelArtifact", view.artifacts),
                ("ModelInstance", view.instances),
                ("AdapterBinding", view.bindings),
                ("GatewayAccess", view.accesses),
            )
        }
        self._writer = Writer(api, metrics)
        connect(view, self.controllers)

    @property
    def synced(self) -> bool:
        """True once every cache holds a complete list."""
        return all(cache.synced.is_set() for cache in self._caches)

    async def watch(self) -> None:
        """Keep the caches full until cancelled; a standby does only this."""
        async with asyncio.TaskGroup() as tasks:
            for reflector in self.reflectors.values():
                tasks.create_task(reflector.run())

    async def control(self) -> None:
        """Reconcile until cancelled; starts when every cache is synced."""
        for cache in self._caches:
            await cache.synced.wait()
        queue = self.controllers["ModelInstance"].queue
        settings, view, writer = self.settings, self.view, self._writer
        async with EngineProber(queue.add, self.metrics, settings.probe_seconds) as prober:
            reconcilers: dict[str, Reconciler] = {
                "SecurityBoundary": BoundaryReconciler(view, writer, settings),
                "ModelArtifact": ArtifactReconciler(view, writer, settings),
                "ModelInstance": InstanceReconciler(view, writer, settings, prober),
                "AdapterBinding": BindingReconciler(view, writer),
                "GatewayAccess": AccessReconciler(view, writer),
            }
            async with asyncio.TaskGroup() as tasks:
                for kind, controller in self.controllers.items():
                    tasks.create_task(controller.run(reconcilers[kind]))
