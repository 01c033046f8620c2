"""Fixtures: the API server once per session, a namespace and a CRD set per test."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, overload

import pytest

from operators.core.api import ApiError, KubernetesApi, RawObject, ResourceType
from operators.core.metrics import Metrics
from operators.runtime import Operator
from operators.settings import Settings
from tests.operators import apiserver
from wire.crd import definition
from wire.resources import KINDS

DEFINITION = ResourceType(
    "apiextensions.k8s.io/v1",
    "CustomResourceDefinition",
    "customresourcedefinitions",
    namespaced=False,
)
NAMESPACE = ResourceType("v1", "Namespace", "namespaces", namespaced=False)
FETCHER_IMAGE = "ringfence/fetcher@sha256:" + "f" * 64
T = TypeVar("T")
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[apiserver.ApiServer]:
    """A real API server without our kinds."""
    running = apiserver.start(tmp_path_factory.mktemp("apiserver"))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def cluster(server: apiserver.ApiServer) -> apiserver.ApiServer:
    """The API server with our kinds established."""

    async def install() -> None:
        async with KubernetesApi(server.connection) as api:
            for kind in KINDS.values():
                await api.apply(DEFINITION, definition(kind), "tests")
            for kind in KINDS.values():
                await until(partial(_served, api, kind.path(None)))

    asyncio.run(install())
    return server


async def _served(api: KubernetesApi, path: str) -> bool:
    try:
        await api.request("GET", path)
    except ApiError:
        return False
    return True


@overload
async def until(
    condition: Callable[[], Awaitable[T | None]], seconds: float = ..., what: str = ...
) -> T: ...


@overload
async def until(condition: Callable[[], T | None], seconds: float = ..., what: str = ...) -> T: ...


async def until(condition: Callable[[], Any], seconds: float = 60.0, what: str = "") -> Any:
    """Return the first true answer of `condition`; fails after `seconds`."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        found = condition()
        value: Any = await found if isinstance(found, Awaitable) else found
        if value:
            return value
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"not within {seconds} s: {what or condition}")
        await asyncio.sleep(0.02)


@pytest.fixture
def namespace(cluster: apiserver.ApiServer) -> str:
    """A fresh namespace, and no boundary of an earlier test."""
    name = f"boundary-{next(_numbers)}"

    async def create() -> None:
        async with KubernetesApi(cluster.connection) as api:
            await api.request("DELETE", KINDS["SecurityBoundary"].path(None))
            body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            await api.apply(NAMESPACE, body, "tests")

    asyncio.run(create())
    return name


@pytest.fixture
def settings(namespace: str) -> Settings:
    """The operator's settings for the fresh namespace."""
    return Settings(
        namespace=namespace,
        system_namespace="ringfence-system",
        fetcher_image=FETCHER_IMAGE,
        identity="tests",
        boundary=namespace,
        engine_port=apiserver.free_port(),
        probe_seconds=0.2,
    )


@asynccontextmanager
async def operator_running(
    cluster: apiserver.ApiServer, settings: Settings
) -> AsyncIterator[tuple[Operator, KubernetesApi]]:
    """Run the whole operator, leader without election, until the block ends."""
    async with KubernetesApi(cluster.connection) as api:
        operator = Operator(api, settings, Metrics())
        tasks = [asyncio.create_task(operator.watch()), asyncio.create_task(operator.control())]
        try:
            await until(lambda: operator.synced, what="caches synced")
            yield operator, api
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def apply_resource(
    api: KubernetesApi, kind: str, name: str, namespace: str | None, spec: dict[str, Any]
) -> RawObject:
    """Store one of our resources as the agent does."""
    known = KINDS[kind]
    type_ = ResourceType(known.api_version, kind, known.plural, known.namespaced)
    body = known.manifest(name, namespace, known.spec.model_validate(spec))
    return await api.apply(type_, body, "agent")


def condition_of(obj: RawObject, type_: str) -> dict[str, Any]:
    """Return one condition, or an empty dict."""
    found = [c for c in obj.get("status", {}).get("conditions", []) if c["type"] == type_]
    return found[0] if found else {}


def fixture_folder() -> Path:
    """Return the folder of this package."""
    return Path(__file__).resolve().parent
