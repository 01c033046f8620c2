"""The parts that the bare API server of these tests lacks, played by hand: Jobs, Deployments, pods.

The engine here speaks the llama.cpp dialect over real HTTP; it computes nothing.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from operators import types
from operators.core.api import MERGE, KubernetesApi, RawObject, ResourceType
from tests.operators.conftest import until


async def patch_status(
    api: KubernetesApi, type_: ResourceType, namespace: str, name: str, status: dict[str, Any]
) -> RawObject:
    """Merge into an object's status, as its own controller would."""
    path = f"{type_.path(namespace, name)}/status"
    return await api.request("PATCH", path, body={"status": status}, content_type=MERGE)


async def create_pod(
    api: KubernetesApi,
    owner: RawObject,
    name: str,
    template: dict[str, Any],
    status: dict[str, Any],
) -> None:
    """Make the pod that a workload's controller would make, and say how it is."""
    namespace = owner["metadata"]["namespace"]
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
    }
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": template["metadata"]["labels"],
            "ownerReferences": [reference],
        },
        "spec": template["spec"],
    }
    await api.apply(types.POD, body, "parts")
    await patch_status(api, types.POD, namespace, name, status)


def ended(exit_code: int, message: str, container: str = "fetch") -> dict[str, Any]:
    """Return the status of a pod whose only container has ended."""
    return {
        "phase": "Succeeded" if exit_code == 0 else "Failed",
        "containerStatuses": [
            {
                "name": container,
                "image": "i",
                "imageID": "i",
                "ready": False,
                "restartCount": 0,
                "state": {
                    "terminated": {
                        "exitCode": exit_code,
                        "message": message,
                        "finishedAt": "2026-01-01T00:00:00Z",
                    }
                },
            }
        ],
    }


async def play_fetch(
    api: KubernetesApi, namespace: str, artifact: str, digest: str, exit_code: int = 0
) -> None:
    """Wait for an artifact's Job and end its pod with a verdict."""
    job = await until(lambda: find(api, types.JOB, namespace, f"{artifact}-fetch"))
    said: dict[str, Any] = {"digest": digest, "size": 10}
    if exit_code:
        said["error"] = "the source has other bytes"
    template = job["spec"]["template"]
    await create_pod(api, job, f"{artifact}-pod", template, ended(exit_code, json.dumps(said)))


async def find(
    api: KubernetesApi, type_: ResourceType, namespace: str | None, name: str
) -> RawObject | None:
    """Return an object, or None while it does not exist."""
    from operators.core.api import ApiError

    try:
        return await api.get(type_, namespace, name)
    except ApiError as error:
        if error.status == 404:
            return None
        raise


async def play_rollout(api: KubernetesApi, namespace: str, name: str, turn: int = 1) -> RawObject:
    """Make one ready pod of a Deployment's current template, on loopback."""
    deployment = await until(lambda: find(api, types.DEPLOYMENT, namespace, name))
    template = deployment["spec"]["template"]
    status = {
        "phase": "Running",
        "podIP": "127.0.0.1",
        "podIPs": [{"ip": "127.0.0.1"}],
        "conditions": [{"type": "Ready", "status": "True"}],
    }
    await create_pod(api, deployment, f"{name}-{turn}", template, status)
    counts = dict.fromkeys(("replicas", "readyReplicas", "updatedReplicas", "availableReplicas"), 1)
    generation = deployment["metadata"]["generation"]
    await patch_status(
        api, types.DEPLOYMENT, namespace, name, {**counts, "observedGeneration": generation}
    )
    return deployment


class PlayedEngine:
    """A server of the llama.cpp dialect whose answers the test sets."""

    def __init__(self) -> None:
        self.names = ["tiny-coder"]
        self.healthy = True
        self.completions = 0

    def application(self) -> web.Application:
        application = web.Application()
        application.add_routes(
            [
                web.get("/health", self._health),
                web.get("/v1/models", self._models),
                web.post("/v1/chat/completions", self._complete),
            ]
        )
        return application

    async def _health(self, _: web.Request) -> web.Response:
        return web.json_response({}, status=200 if self.healthy else 503)

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": name} for name in self.names]})

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.completions += 1
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        events: list[dict[str, Any]] = [
            {"model": body["model"], "choices": [{"delta": {"content": "x"}}]},
            {"model": body["model"], "choices": [], "usage": {"completion_tokens": 8}},
        ]
        for event in events:
            await response.write(f"data: {json.dumps(event)}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        return response


@asynccontextmanager
async def engine_listening(port: int) -> AsyncIterator[PlayedEngine]:
    """Serve a played engine on a loopback port."""
    engine = PlayedEngine()
    runner = web.AppRunner(engine.application(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield engine
    finally:
        await runner.cleanup()
