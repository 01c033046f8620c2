"""Which change concerns which custom resource.

Called once by `operators.runtime`. A nudge too many costs a look into the caches; one too few would
only be noticed at the next resync, so the rules here are generous.
"""

from __future__ import annotations

from collections.abc import Callable

from operators.boundary.plan import COMPONENT as BOUNDARY_COMPONENT
from operators.core.api import RawObject
from operators.core.cache import Cache, Key, key_of
from operators.core.controller import Controller
from operators.core.workqueue import Priority
from operators.view import View, artifact_label, component_label, instance_label, instance_refs

Concern = Callable[[RawObject], list[Key]]


def on_change(source: Cache, controller: Controller, concerned: Concern) -> None:
    """Add what a changed object concerns, before or after the change, to a controller's queue."""

    def listener(old: RawObject | None, new: RawObject | None) -> None:
        for obj in (old, new):
            if obj is not None:
                for key in concerned(obj):
                    controller.queue.add(key, Priority.CHANGE)

    source.listen(listener)


def connect(view: View, controllers: dict[str, Controller]) -> None:
    """Connect every cache with the queues it concerns; `controllers` is by kind."""
    _boundaries(view, controllers["SecurityBoundary"])
    _artifacts(view, controllers["ModelArtifact"])
    _instances(view, controllers["ModelInstance"])
    _bindings(view, controllers["AdapterBinding"])
    _accesses(view, controllers["GatewayAccess"])


def _keys(objects: Cache) -> list[Key]:
    return [key_of(obj) for obj in objects]


def _namesakes(obj: RawObject, names: list[str]) -> list[Key]:
    namespace = obj["metadata"].get("namespace", "")
    return [Key(namespace, name) for name in names]


def _boundaries(view: View, controller: Controller) -> None:
    on_change(view.namespaces, controller, lambda _: _keys(view.boundaries))
    on_change(view.quotas, controller, lambda _: _keys(view.boundaries))

    def policy(obj: RawObject) -> list[Key]:
        ours = BOUNDARY_COMPONENT in component_label(obj)
        return _keys(view.boundaries) if ours else []

    on_change(view.policies, controller, policy)


def _artifacts(view: View, controller: Controller) -> None:
    for source in (view.jobs, view.pods):
        on_change(source, controller, lambda obj: _namesakes(obj, list(artifact_label(obj))))
    on_change(view.boundaries, controller, lambda _: _keys(view.artifacts))
    on_change(
        view.artifacts,
        controller,
        lambda obj: [
            key_of(other) for other in view.artifacts.by_index("artifact", obj["metadata"]["name"])
        ],
    )


def _instances(view: View, controller: Controller) -> None:
    for source in (view.deployments, view.services, view.config_maps, view.pods, view.policies):
        on_change(source, controller, lambda obj: _namesakes(obj, list(instance_label(obj))))
    on_change(view.bindings, controller, lambda obj: _namesakes(obj, list(instance_refs(obj))))

    def artifact(obj: RawObject) -> list[Key]:
        name = obj["metadata"]["name"]
        direct = [key_of(i) for i in view.instances.by_index("artifact", name)]
        bound = view.bindings.by_index("artifact", name)
        return direct + [key for b in bound for key in _namesakes(b, list(instance_refs(b)))]

    on_change(view.artifacts, controller, artifact)
    on_change(view.boundaries, controller, lambda _: _keys(view.instances))

    def place(old: RawObject | None, new: RawObject | None) -> None:
        # One that comes or goes may take or free a place under the boundary's limit.
        present = new or old
        if present is None or (old is not None and new is not None):
            return
        if view.instance_limit(present["metadata"]["namespace"]) is not None:
            for key in _keys(view.instances):
                controller.queue.add(key, Priority.CHANGE)

    view.instances.listen(place)


def _bindings(view: View, controller: Controller) -> None:
    def siblings(name: str) -> list[Key]:
        return [key_of(b) for b in view.bindings.by_index("instance", name)]

    on_change(view.instances, controller, lambda obj: siblings(obj["metadata"]["name"]))
    on_change(
        view.bindings,
        controller,
        lambda obj: [key for name in instance_refs(obj) for key in siblings(name)],
    )
    on_change(
        view.artifacts,
        controller,
        lambda obj: [
            key_of(b) for b in view.bindings.by_index("artifact", obj["metadata"]["name"])
        ],
    )


def _accesses(view: View, controller: Controller) -> None:
    def gateway(obj: RawObject) -> list[Key]:
        return _keys(view.accesses) if "gateway" in component_label(obj) else []

    for source in (view.services, view.deployments):
        on_change(source, controller, gateway)
    for resources in (view.instances, view.bindings):
        on_change(resources, controller, lambda _: _keys(view.accesses))
