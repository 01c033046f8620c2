"""The generated definitions on a real API server: what it accepts and what it refuses."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from operators import types
from operators.core.api import ApiError, KubernetesApi
from tests.operators.apiserver import ApiServer
from tests.operators.conftest import apply_resource
from wire import crd
from wire.resources import API_VERSION, KINDS, InvalidResourceError, parse_spec

DIGEST = "sha256:" + "a" * 64
ENGINE = {"name": "llama.cpp", "image": "ringfence/engine-llamacpp@" + DIGEST}
SOURCE = {"s3": {"bucket": "boundary-bucket", "key": "models/tiny", "region": "eu-central-1"}}
VALID: dict[str, dict[str, Any]] = {
    "SecurityBoundary": {
        "displayName": "Payments",
        "namespace": "boundary-x",
        "quota": {"cpu": "4", "memory": "8Gi", "maxInstances": 3},
        "network": {
            "egressTo": [{"name": "aws", "cidr": "10.88.0.10/32", "ports": [{"port": 80}]}],
            "ingressFrom": [
                {
                    "name": "agent",
                    "namespace": "ringfence-system",
                    "peerPods": {"ringfence.dev/component": "agent"},
                    "ports": [{"port": 8081}],
                }
            ],
        },
    },
    "ModelArtifact": {"kind": "Base", "source": SOURCE, "digest": DIGEST, "size": 10},
    "ModelInstance": {
        "artifactRef": {"name": "base"},
        "engine": ENGINE,
        "serving": {"modelName": "tiny-coder"},
    },
    "AdapterBinding": {
        "instanceRef": {"name": "tiny"},
        "artifactRef": {"name": "style"},
        "alias": "payments-style",
    },
    "GatewayAccess": {
        "groups": [{"name": "engineers", "models": ["tiny-coder"]}],
        "keys": [
            {
                "hash": DIGEST,
                "owner": "pia@acme.test",
                "group": "engineers",
                "expiresAt": "2030-01-01T00:00:00Z",
            }
        ],
    },
}
REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "a boundary without pod security": (
        "SecurityBoundary",
        {"displayName": "x", "namespace": "n", "podSecurity": "privileged"},
    ),
    "a boundary that accepts artifacts without digest": (
        "SecurityBoundary",
        {"displayName": "x", "namespace": "n", "artifactPolicy": {"requireDigest": False}},
    ),
    "a network rule with two peers": (
        "SecurityBoundary",
        {
            "displayName": "x",
            "namespace": "n",
            "network": {
                "egressTo": [
                    {"name": "a", "cidr": "10.0.0.0/8", "namespace": "b", "ports": [{"port": 1}]}
                ]
            },
        },
    ),
    "a network rule without ports": (
        "SecurityBoundary",
        {
            "displayName": "x",
            "namespace": "n",
            "network": {"egressTo": [{"name": "a", "cidr": "10.0.0.0/8", "ports": []}]},
        },
    ),
    "an artifact named by tag": (
        "ModelArtifact",
        {"kind": "Base", "source": SOURCE, "digest": "latest", "size": 10},
    ),
    "an adapter without base": (
        "ModelArtifact",
        {"kind": "Adapter", "source": SOURCE, "digest": DIGEST, "size": 10},
    ),
    "a base with a base": (
        "ModelArtifact",
        {
            "kind": "Base",
            "baseRef": {"name": "other"},
            "source": SOURCE,
            "digest": DIGEST,
            "size": 10,
        },
    ),
    "an engine image by tag": (
        "ModelInstance",
        {
            "artifactRef": {"name": "base"},
            "engine": {"name": "llama.cpp", "image": "ringfence/engine-llamacpp:latest"},
            "serving": {"modelName": "tiny"},
        },
    ),
    "a minimum above the maximum": (
        "ModelInstance",
        {
            "artifactRef": {"name": "base"},
            "engine": ENGINE,
            "serving": {"modelName": "tiny"},
            "scaling": {"min": 3, "max": 2},
        },
    ),
    "a key of an unknown group": (
        "GatewayAccess",
        {
            "groups": [],
            "keys": [
                {
                    "hash": DIGEST,
                    "owner": "pia",
                    "group": "nobody",
                    "expiresAt": "2030-01-01T00:00:00Z",
                }
            ],
        },
    ),
    "a key without end": (
        "GatewayAccess",
        {
            "groups": [{"name": "g"}],
            "keys": [{"hash": DIGEST, "owner": "pia", "group": "g"}],
        },
    ),
}


def test_the_definitions_and_their_page_are_up_to_date() -> None:
    assert crd.stale() == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_valid_resource_survives_the_way_through_model_and_alias(kind: str) -> None:
    spec = parse_spec(kind, VALID[kind])
    again = parse_spec(kind, spec.to_kubernetes())
    assert again == spec


@pytest.mark.parametrize("name", REFUSED)
def test_the_models_refuse(name: str) -> None:
    kind, spec = REFUSED[name]
    with pytest.raises(InvalidResourceError) as caught:
        parse_spec(kind, spec)
    assert caught.value.problems


def test_an_unknown_field_is_named_and_its_value_is_not_repeated() -> None:
    with pytest.raises(InvalidResourceError) as caught:
        parse_spec("AdapterBinding", {**VALID["AdapterBinding"], "exec": "canary-value"})
    assert "spec.exec" in str(caught.value)
    assert "canary-value" not in str(caught.value)


def test_a_kind_outside_the_vocabulary_is_refused() -> None:
    with pytest.raises(InvalidResourceError, match="unknown kind"):
        parse_spec("Pod", {})


@pytest.mark.cluster
@pytest.mark.parametrize("kind", KINDS)
def test_the_api_server_accepts_a_valid_resource(
    kind: str, cluster: ApiServer, namespace: str
) -> None:
    async def store() -> None:
        async with KubernetesApi(cluster.connection) as api:
            stored = await apply_resource(api, kind, "valid", namespace, VALID[kind])
            # What the API server returns, with its defaults, is what the models read.
            assert parse_spec(kind, stored["spec"]) == parse_spec(kind, VALID[kind])
            if not KINDS[kind].namespaced:
                await api.delete(types.custom(kind), None, "valid")

    asyncio.run(store())


@pytest.mark.cluster
@pytest.mark.parametrize("name", REFUSED)
def test_the_api_server_refuses(name: str, cluster: ApiServer, namespace: str) -> None:
    kind, spec = REFUSED[name]
    known = KINDS[kind]
    metadata = {"name": "refused"} | ({"namespace": namespace} if known.namespaced else {})
    body = {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}

    async def store() -> None:
        async with KubernetesApi(cluster.connection) as api:
            await api.apply(types.custom(kind), body, "tests")

    with pytest.raises(ApiError) as caught:
        asyncio.run(store())
    assert caught.value.status == 422


@pytest.mark.cluster
def test_the_spec_of_an_artifact_is_immutable(cluster: ApiServer, namespace: str) -> None:
    async def store() -> None:
        async with KubernetesApi(cluster.connection) as api:
            spec = VALID["ModelArtifact"]
            await apply_resource(api, "ModelArtifact", "base", namespace, spec)
            changed = {**spec, "digest": "sha256:" + "b" * 64}
            await apply_resource(api, "ModelArtifact", "base", namespace, changed)

    with pytest.raises(ApiError, match="immutable"):
        asyncio.run(store())


@pytest.mark.cluster
def test_a_reason_outside_the_documented_list_is_refused(
    cluster: ApiServer, namespace: str
) -> None:
    async def store() -> None:
        async with KubernetesApi(cluster.connection) as api:
            await apply_resource(api, "AdapterBinding", "b", namespace, VALID["AdapterBinding"])
            condition = {
                "type": "Ready",
                "status": "True",
                "reason": "BecauseISaySo",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
                "observedGeneration": 1,
            }
            body = {
                "apiVersion": API_VERSION,
                "kind": "AdapterBinding",
                "metadata": {"name": "b", "namespace": namespace},
                "status": {"conditions": [condition]},
            }
            await api.apply(types.custom("AdapterBinding"), body, "tests", "status")

    with pytest.raises(ApiError, match="reason"):
        asyncio.run(store())
