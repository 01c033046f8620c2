"""The whole operator against a real API server; Jobs, Deployments and pods are played by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from operators import types
from operators.core.api import MERGE, KubernetesApi, RawObject
from operators.core.writer import DESIRED_HASH
from operators.settings import Settings
from tests.operators.apiserver import ApiServer
from tests.operators.conftest import apply_resource, condition_of, operator_running, until
from tests.operators.parts import (
    engine_listening,
    find,
    patch_status,
    play_fetch,
    play_rollout,
)
from tests.operators.test_custom_resources import ENGINE, SOURCE, VALID

pytestmark = pytest.mark.cluster

BASE = "sha256:" + "1" * 64
STYLE = "sha256:" + "2" * 64
OTHER = "sha256:" + "3" * 64
INSTANCE = {
    "artifactRef": {"name": "base"},
    "engine": ENGINE,
    "serving": {"modelName": "tiny-coder"},
}


async def add_artifact(api: KubernetesApi, namespace: str, name: str, digest: str) -> None:
    spec: dict[str, Any] = {"kind": "Base", "source": SOURCE, "digest": digest, "size": 10}
    if digest == STYLE:
        spec |= {"kind": "Adapter", "baseRef": {"name": "base"}}
    await apply_resource(api, "ModelArtifact", name, namespace, spec)


async def settled(
    api: KubernetesApi,
    kind: str,
    namespace: str | None,
    name: str,
    type_: str,
    reason: str,
    where: Callable[[RawObject], bool] = lambda _: True,
) -> RawObject:
    """Wait until a condition of a resource has a reason, and return the resource."""
    seen: RawObject = {}

    async def look() -> RawObject | None:
        nonlocal seen
        seen = await api.get(types.custom(kind), namespace, name)
        return seen if condition_of(seen, type_).get("reason") == reason and where(seen) else None

    try:
        return await until(look)
    except AssertionError as error:
        raise AssertionError(f"{kind} {name} has {seen.get('status')}") from error


def test_a_boundary_denies_by_default_and_opens_only_what_is_named(
    cluster: ApiServer, settings: Settings
) -> None:
    async def check() -> None:
        async with operator_running(cluster, settings) as (_, api):
            spec = {**VALID["SecurityBoundary"], "namespace": settings.namespace}
            name = settings.namespace
            await apply_resource(api, "SecurityBoundary", name, None, spec)
            found = await settled(api, "SecurityBoundary", None, name, "Ready", "Ready")
            assert condition_of(found, "IsolationProven")["status"] == "Unknown"
            assert found["status"]["observedGeneration"] == found["metadata"]["generation"]
            deny = await api.get(types.NETWORK_POLICY, settings.namespace, "boundary-default-deny")
            assert deny["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
            out = await api.get(types.NETWORK_POLICY, settings.namespace, "boundary-egress-aws")
            assert out["spec"]["egress"] == [
                {
                    "to": [{"ipBlock": {"cidr": "10.88.0.10/32"}}],
                    "ports": [{"port": 80, "protocol": "TCP"}],
                }
            ]
            labels = (await api.get(types.NAMESPACE, None, name))["metadata"]["labels"]
            assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
            quota = await api.get(types.RESOURCE_QUOTA, settings.namespace, "boundary")
            assert quota["spec"]["hard"] == {"requests.cpu": "4", "requests.memory": "8Gi"}
            # A rule that is no longer named goes, and a foreign change is undone.
            fewer = {**spec, "network": {}}
            await apply_resource(api, "SecurityBoundary", name, None, fewer)
            await until(
                lambda: gone(api, types.NETWORK_POLICY, settings.namespace, "boundary-egress-aws")
            )
            opened = {"spec": {"policyTypes": ["Ingress"]}}
            path = types.NETWORK_POLICY.path(settings.namespace, "boundary-default-deny")
            await api.request("PATCH", path, body=opened, content_type=MERGE)

            async def closed_again() -> bool:
                policy = await api.get(
                    types.NETWORK_POLICY, settings.namespace, "boundary-default-deny"
                )
                return bool(policy["spec"]["policyTypes"] == ["Ingress", "Egress"])

            await until(closed_again)

    asyncio.run(check())


async def gone(api: KubernetesApi, type_: Any, namespace: str, name: str) -> bool:
    return await find(api, type_, namespace, name) is None


def test_a_boundary_for_another_namespace_is_not_touched(
    cluster: ApiServer, settings: Settings
) -> None:
    async def check() -> None:
        async with operator_running(cluster, settings) as (_, api):
            name = settings.boundary
            spec = {**VALID["SecurityBoundary"], "namespace": "default"}
            await apply_resource(api, "SecurityBoundary", name, None, spec)
            await settled(api, "SecurityBoundary", None, name, "Ready", "NamespaceNotManaged")
            assert await gone(api, types.NETWORK_POLICY, "default", "boundary-default-deny")
            await api.delete(types.custom("SecurityBoundary"), None, name)

    asyncio.run(check())


def test_a_neighbours_boundary_in_the_cluster_is_neither_seen_nor_written(
    cluster: ApiServer, settings: Settings
) -> None:
    async def check() -> None:
        async with operator_running(cluster, settings) as (operator, api):
            spec = {**VALID["SecurityBoundary"], "namespace": settings.namespace}
            neighbour = f"neighbour-of-{settings.boundary}"
            await apply_resource(api, "SecurityBoundary", neighbour, None, spec)
            await apply_resource(api, "SecurityBoundary", settings.boundary, None, spec)
            await settled(api, "SecurityBoundary", None, settings.boundary, "Ready", "Ready")
            await until(lambda: all(c.queue.idle for c in operator.controllers.values()))
            left = await api.get(types.custom("SecurityBoundary"), None, neighbour)
            assert "status" not in left
            await api.delete(types.custom("SecurityBoundary"), None, neighbour)

    asyncio.run(check())


def test_a_wrong_digest_is_refused_and_never_mounted(
    cluster: ApiServer, settings: Settings
) -> None:
    async def check() -> None:
        async with operator_running(cluster, settings) as (_, api):
            inside = settings.namespace
            await add_artifact(api, inside, "base", BASE)
            await apply_resource(api, "ModelInstance", "tiny", inside, INSTANCE)
            await play_fetch(api, inside, "base", OTHER, exit_code=3)
            found = await settled(
                api, "ModelArtifact", inside, "base", "Verified", "DigestMismatch"
            )
            assert condition_of(found, "Verified")["status"] == "False"
            assert OTHER in condition_of(found, "Verified")["message"]
            assert "verifiedDigest" not in found["status"]
            instance = await settled(
                api,
                "ModelInstance",
                inside,
                "tiny",
                "Ready",
                "ArtifactNotReady",
                lambda i: "DigestMismatch" in condition_of(i, "Ready")["message"],
            )
            assert condition_of(instance, "Ready")["status"] == "False"
            assert await gone(api, types.DEPLOYMENT, inside, "tiny")

    asyncio.run(check())


def test_an_instance_is_ready_only_after_a_real_answer_with_its_adapters(
    cluster: ApiServer, settings: Settings
) -> None:
    async def check() -> None:
        inside = settings.namespace
        async with (
            engine_listening(settings.engine_port) as engine,
            operator_running(cluster, settings) as (_, api),
        ):
            await add_artifact(api, inside, "base", BASE)
            await add_artifact(api, inside, "style", STYLE)
            await apply_resource(api, "ModelInstance", "tiny", inside, INSTANCE)
            binding = {
                "instanceRef": {"name": "tiny"},
                "artifactRef": {"name": "style"},
                "alias": "payments-style",
            }
            await apply_resource(api, "AdapterBinding", "style", inside, binding)
            await play_fetch(api, inside, "base", BASE)
            await settled(api, "ModelArtifact", inside, "base", "Ready", "Ready")
            # The first start waits for the adapter that is on its way.
            assert await gone(api, types.DEPLOYMENT, inside, "tiny")
            await play_fetch(api, inside, "style", STYLE)
            deployment = await play_rollout(api, inside, "tiny")
            config = await api.get(types.CONFIG_MAP, inside, "tiny-engine")
            assert '"payments-style"' in config["data"]["engine.json"]
            assert f"/models/sha256-{'1' * 64}" in config["data"]["engine.json"]
            pod = deployment["spec"]["template"]["spec"]
            assert pod["automountServiceAccountToken"] is False
            # Healthy, but it does not list the adapter: not Ready.
            await settled(api, "ModelInstance", inside, "tiny", "EngineHealthy", "EngineUnhealthy")
            bound = await settled(api, "AdapterBinding", inside, "style", "Loaded", "Loading")
            assert condition_of(bound, "Ready")["status"] == "False"
            engine.names.append("payments-style")
            ready = await settled(api, "ModelInstance", inside, "tiny", "Ready", "Ready")
            status = ready["status"]
            assert status["smoke"]["outputTokens"] == 8
            assert status["servedModels"] == ["payments-style", "tiny-coder"]
            assert status["adapters"] == {"desired": 1, "ready": 1}
            assert status["endpoint"].endswith(f":{settings.engine_port}")
            await settled(api, "AdapterBinding", inside, "style", "Loaded", "Loaded")
            engine.healthy = False
            await settled(api, "ModelInstance", inside, "tiny", "Ready", "EngineUnhealthy")
            assert engine.completions == 1

    asyncio.run(check())


def test_a_restart_with_nothing_to_do_writes_nothing_and_asks_for_no_completion(
    cluster: ApiServer, settings: Settings
) -> None:
    async def check() -> None:
        inside = settings.namespace
        async with engine_listening(settings.engine_port) as engine:
            async with operator_running(cluster, settings) as (_, api):
                spec = {**VALID["SecurityBoundary"], "namespace": inside}
                await apply_resource(api, "SecurityBoundary", inside, None, spec)
                await add_artifact(api, inside, "base", BASE)
                await apply_resource(api, "ModelInstance", "tiny", inside, INSTANCE)
                await apply_resource(api, "GatewayAccess", "access", inside, VALID["GatewayAccess"])
                await play_fetch(api, inside, "base", BASE)
                await play_rollout(api, inside, "tiny")
                await settled(api, "ModelInstance", inside, "tiny", "Ready", "Ready")
                await settled(api, "SecurityBoundary", None, inside, "Ready", "Ready")
                await settled(api, "GatewayAccess", inside, "access", "Ready", "NoGateway")
            before = await versions(cluster, inside)
            async with operator_running(cluster, settings) as (operator, _):
                probed = lambda: operator.metrics.total("engine_probe_total") > 1  # noqa: E731
                await until(probed)
                await until(lambda: all(c.queue.idle for c in operator.controllers.values()))
                wrote = [line for line in operator.metrics.render().splitlines() if "false" in line]
                assert wrote == []
                assert operator.metrics.total("writes_total", noop="true") > 0
            assert await versions(cluster, inside) == before
            assert engine.completions == 1

    asyncio.run(check())


async def versions(cluster: ApiServer, namespace: str) -> dict[str, str]:
    """Return the resourceVersion of everything the operator could have written."""
    found = {}
    async with KubernetesApi(cluster.connection) as api:
        for type_ in (
            types.custom("ModelArtifact"),
            types.custom("ModelInstance"),
            types.custom("GatewayAccess"),
            types.custom("SecurityBoundary"),
            types.DEPLOYMENT,
            types.SERVICE,
            types.CONFIG_MAP,
            types.NETWORK_POLICY,
            types.JOB,
        ):
            page = await api.list_page(type_.path(namespace), {})
            for item in page.items:
                key = f"{type_.kind}/{item['metadata']['name']}"
                found[key] = item["metadata"]["resourceVersion"]
    return found


def test_a_pod_that_cannot_start_is_named_with_its_last_words(
    cluster: ApiServer, settings: Settings
) -> None:
    async def check() -> None:
        inside = settings.namespace
        async with operator_running(cluster, settings) as (_, api):
            await add_artifact(api, inside, "base", BASE)
            await apply_resource(api, "ModelInstance", "tiny", inside, INSTANCE)
            await play_fetch(api, inside, "base", BASE)
            await until(lambda: find(api, types.DEPLOYMENT, inside, "tiny"))
            await play_rollout(api, inside, "tiny")
            failing = {
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": "False"}],
                "containerStatuses": [
                    {
                        "name": "engine",
                        "image": "i",
                        "imageID": "i",
                        "ready": False,
                        "restartCount": 2,
                        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                        "lastState": {
                            "terminated": {
                                "exitCode": 1,
                                "message": "tensor 'output.weight' has invalid data",
                                "finishedAt": "2026-01-01T00:00:00Z",
                            }
                        },
                    }
                ],
            }
            await patch_status(api, types.POD, inside, "tiny-1", failing)
            await patch_status(
                api, types.DEPLOYMENT, inside, "tiny", {"readyReplicas": 0, "availableReplicas": 0}
            )
            found = await settled(api, "ModelInstance", inside, "tiny", "Ready", "PodFailing")
            failure = found["status"]["lastFailure"]
            assert failure["exitCode"] == 1
            assert failure["reason"] == "CrashLoopBackOff"
            assert "invalid data" in condition_of(found, "Ready")["message"]

    asyncio.run(check())


def test_access_is_programmed_once_a_gateway_is_ready_and_has_an_address(
    cluster: ApiServer, settings: Settings
) -> None:
    async def check() -> None:
        inside = settings.namespace
        async with operator_running(cluster, settings) as (_, api):
            await apply_resource(api, "GatewayAccess", "access", inside, VALID["GatewayAccess"])
            await settled(api, "GatewayAccess", inside, "access", "Ready", "NoGateway")
            await add_gateway(api, inside)
            await settled(api, "GatewayAccess", inside, "access", "Ready", "GatewayNotReady")
            counts = dict.fromkeys(
                ("replicas", "readyReplicas", "updatedReplicas", "availableReplicas"), 1
            )
            await patch_status(api, types.DEPLOYMENT, inside, "gateway", counts)
            await settled(api, "GatewayAccess", inside, "access", "Ready", "NoAddress")
            address = {"loadBalancer": {"ingress": [{"ip": "127.88.0.1"}]}}
            await patch_status(api, types.SERVICE, inside, "gateway", address)
            found = await settled(api, "GatewayAccess", inside, "access", "Ready", "Ready")
            assert found["status"]["endpoint"] == "http://127.88.0.1:8080"
            unresolved = condition_of(found, "ResolvedModels")
            assert unresolved["reason"] == "UnknownModel"
            assert "tiny-coder" in unresolved["message"]

    asyncio.run(check())


async def add_gateway(api: KubernetesApi, namespace: str) -> None:
    labels = {types.COMPONENT: "gateway"}
    metadata = {"name": "gateway", "namespace": namespace, "labels": labels}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {
            "type": "LoadBalancer",
            "selector": labels,
            "ports": [{"name": "http", "port": 8080}],
        },
    }
    await api.apply(types.SERVICE, service, "helm")
    pod = {"containers": [{"name": "gateway", "image": "i"}]}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }
    await api.apply(types.DEPLOYMENT, deployment, "helm")


def test_a_binding_whose_alias_is_taken_is_refused(cluster: ApiServer, settings: Settings) -> None:
    async def check() -> None:
        inside = settings.namespace
        async with operator_running(cluster, settings) as (_, api):
            await add_artifact(api, inside, "base", BASE)
            await add_artifact(api, inside, "style", STYLE)
            await apply_resource(api, "ModelInstance", "tiny", inside, INSTANCE)
            binding = {
                "instanceRef": {"name": "tiny"},
                "artifactRef": {"name": "style"},
                "alias": "tiny-coder",
            }
            await apply_resource(api, "AdapterBinding", "taken", inside, binding)
            await settled(api, "AdapterBinding", inside, "taken", "Ready", "AliasTaken")
            elsewhere = {**binding, "alias": "x", "instanceRef": {"name": "nobody"}}
            await apply_resource(api, "AdapterBinding", "lost", inside, elsewhere)
            await settled(api, "AdapterBinding", inside, "lost", "Ready", "InstanceNotFound")

    asyncio.run(check())


def test_an_instance_above_the_boundary_s_limit_waits_until_an_older_one_goes(
    cluster: ApiServer, settings: Settings
) -> None:
    async def check() -> None:
        inside = settings.namespace
        async with operator_running(cluster, settings) as (_, api):
            spec = {**VALID["SecurityBoundary"], "namespace": inside, "quota": {"maxInstances": 1}}
            await apply_resource(api, "SecurityBoundary", inside, None, spec)
            await add_artifact(api, inside, "base", BASE)
            await play_fetch(api, inside, "base", BASE)
            await apply_resource(api, "ModelInstance", "a", inside, INSTANCE)
            await settled(api, "ModelInstance", inside, "a", "Ready", "RollingOut")
            await apply_resource(api, "ModelInstance", "b", inside, INSTANCE)
            await settled(api, "ModelInstance", inside, "b", "Ready", "InstanceLimit")
            assert await gone(api, types.DEPLOYMENT, inside, "b")
            await api.delete(types.custom("ModelInstance"), inside, "a")
            await until(lambda: find(api, types.DEPLOYMENT, inside, "b"))

    asyncio.run(check())


def test_weights_taken_off_the_customer_s_list_stop_being_served(
    cluster: ApiServer, settings: Settings
) -> None:
    async def check() -> None:
        inside = settings.namespace
        async with operator_running(cluster, settings) as (_, api):
            await add_artifact(api, inside, "base", BASE)
            await play_fetch(api, inside, "base", BASE)
            await apply_resource(api, "ModelInstance", "tiny", inside, INSTANCE)
            await settled(api, "ModelInstance", inside, "tiny", "Ready", "RollingOut")
            listed = {"artifactPolicy": {"allowedDigests": [OTHER]}}
            spec = {**VALID["SecurityBoundary"], "namespace": inside, **listed}
            await apply_resource(api, "SecurityBoundary", inside, None, spec)
            await settled(api, "ModelArtifact", inside, "base", "Verified", "NotAllowed")
            await settled(api, "ModelInstance", inside, "tiny", "Ready", "ArtifactNotReady")

            async def stopped() -> bool:
                deployment = await api.get(types.DEPLOYMENT, inside, "tiny")
                return bool(deployment["spec"]["replicas"] == 0)

            await until(stopped)

    asyncio.run(check())


def test_children_carry_the_digest_of_what_was_wanted(
    cluster: ApiServer, settings: Settings
) -> None:
    async def check() -> None:
        inside = settings.namespace
        async with operator_running(cluster, settings) as (_, api):
            await add_artifact(api, inside, "base", BASE)
            job = await until(lambda: find(api, types.JOB, inside, "base-fetch"))
            assert len(job["metadata"]["annotations"][DESIRED_HASH]) == 64
            managers = {entry["manager"] for entry in job["metadata"]["managedFields"]}
            assert managers == {"ringfence/artifact"}

    asyncio.run(check())
