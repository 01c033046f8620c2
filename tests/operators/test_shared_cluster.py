"""Two boundaries in one cluster: two releases of the chart on one real API server.

What their pods may send each other needs nodes, and is tested in `test_shared_network`.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.adapters.helm.release import HelmReleases
from operators import types
from operators.core.api import ApiError, KubernetesApi, RawObject
from operators.core.connection import ClusterConnection
from sandbox.toolchain import find_program
from tests.operators.apiserver import ApiServer
from tests.operators.conftest import DEFINITION, until
from tests.operators.test_chart import (
    BOUNDARY,
    CHART,
    EXAMPLE,
    SYSTEM,
    allowed,
    helm,
    installed,
    render,
)

__all__ = ["installed"]
"""A fixture, which pytest finds here."""

GUEST, GUEST_SYSTEM, GUEST_BOUNDARY = "research", "ringfence-system-research", "boundary-research"
KIND = types.custom("SecurityBoundary")
PARTS = {
    "agent": f"system:serviceaccount:{GUEST_SYSTEM}:agent",
    "operator": f"system:serviceaccount:{GUEST_SYSTEM}:operator",
    "gateway": f"system:serviceaccount:{GUEST_BOUNDARY}:gateway",
    "fetcher": f"system:serviceaccount:{GUEST_BOUNDARY}:fetcher",
    "engine": f"system:serviceaccount:{GUEST_BOUNDARY}:engine",
}
CUSTOM = ("modelartifacts", "modelinstances", "adapterbindings", "gatewayaccesses")
CORE = ("secrets", "configmaps", "services", "pods", "serviceaccounts", "persistentvolumeclaims")
VERBS = ("get", "list", "watch", "create", "patch", "delete")


def guest_values() -> RawObject:
    """Return the values of a second boundary in the example's cluster."""
    values: RawObject = yaml.safe_load(EXAMPLE.read_text())
    values["boundary"] = {
        "id": "018f0000-0000-7000-8000-000000000003",
        "name": GUEST,
        "displayName": "Research",
        "namespace": GUEST_BOUNDARY,
    }
    values["artifacts"]["bucket"] = "ringfence-research-artifacts"
    values["agent"]["closerRole"] = "ringfence-research-closer"
    values["customResources"] = {"install": False}
    return values


@pytest.fixture(scope="module")
def shared(installed: tuple[ApiServer, Path, Path]) -> tuple[ApiServer, Path, Path]:
    """The example's boundary, and beside it a guest in the same cluster."""
    server, kubeconfig, home = installed
    releases = HelmReleases(find_program("helm"), home)
    releases.upgrade_install(kubeconfig, "ringfence", CHART, GUEST_SYSTEM, guest_values())
    return server, kubeconfig, home


def test_a_guest_renders_no_definition_and_no_name_that_its_host_has(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump(guest_values()))
    arguments = ("template", "ringfence", str(CHART), "-n", GUEST_SYSTEM, "-f", str(values))
    guest = [d for d in yaml.safe_load_all(helm(*arguments, home=tmp_path).stdout) if d]
    assert not [d for d in guest if d["kind"] == "CustomResourceDefinition"]

    def names(objects: list[RawObject]) -> set[tuple[str, str, str]]:
        found = [(o["kind"], o["metadata"]) for o in objects]
        return {(kind, m.get("namespace", ""), m["name"]) for kind, m in found}

    assert len(names(guest)) > 30
    assert not names(guest) & names(render(tmp_path))


@pytest.mark.cluster
def test_no_part_of_a_guest_may_do_anything_with_its_hosts_objects(
    shared: tuple[ApiServer, Path, Path],
) -> None:
    server, _, _ = shared
    cases = [
        (verb, group, resource, namespace)
        for verb in VERBS
        for namespace in (BOUNDARY, SYSTEM, "kube-system")
        for group, resources in (("", CORE), ("ringfence.dev", CUSTOM), ("apps", ("deployments",)))
        for resource in resources
    ]
    cases += [
        (verb, "ringfence.dev", f"securityboundaries{name}", "")
        for verb in VERBS
        for name in ("/payments", "")
        # The name of what is created is for the admission policy.
        if verb != "create"
    ]
    own = [("agent", "patch", "securityboundaries/research"), ("operator", "watch", "pods")]

    async def check() -> None:
        async with KubernetesApi(server.connection) as api:
            for part, verb, resource in own:
                group = "" if resource == "pods" else "ringfence.dev"
                inside = GUEST_BOUNDARY if resource == "pods" else ""
                assert await allowed(api, PARTS[part], verb, group, resource, inside)
            answers = await asyncio.gather(
                *(allowed(api, user, *case) for user in PARTS.values() for case in cases)
            )
            asked = [(part, *case) for part in PARTS for case in cases]
            assert [c for c, yes in zip(asked, answers, strict=True) if yes] == []

    asyncio.run(check())


@pytest.mark.cluster
def test_an_agent_can_make_the_boundary_of_its_own_name_and_no_other(
    shared: tuple[ApiServer, Path, Path], tmp_path: Path
) -> None:
    server, _, _ = shared

    async def check() -> None:
        token = tmp_path / "token"
        token.touch(mode=0o600)
        async with KubernetesApi(server.connection) as admin:
            path = f"/api/v1/namespaces/{GUEST_SYSTEM}/serviceaccounts/agent/token"
            answer = await admin.request("POST", path, body={"spec": {"expirationSeconds": 600}})
            token.write_text(answer["status"]["token"])
        connection = server.connection
        agent = ClusterConnection(connection.base_url, connection.ca_file, token)
        async with KubernetesApi(agent) as api:
            refused = await until(lambda: refusal(api, "ghost"), what="the policy is in force")
            assert "boundary research may write no other SecurityBoundary" in refused
            assert await refusal(api, GUEST) == ""

    asyncio.run(check())


async def refusal(api: KubernetesApi, name: str) -> str:
    """Try to make a SecurityBoundary, leave none, and return why it was refused."""
    body: dict[str, Any] = {
        "apiVersion": "ringfence.dev/v1alpha1",
        "kind": "SecurityBoundary",
        "metadata": {"name": name},
        "spec": {"namespace": GUEST_BOUNDARY, "displayName": "x"},
    }
    try:
        await api.request("POST", KIND.path(None), {"dryRun": "All"}, body)
    except ApiError as error:
        return error.message
    return ""


@pytest.mark.cluster
def test_a_guest_that_goes_leaves_the_definitions_and_its_host(
    shared: tuple[ApiServer, Path, Path],
) -> None:
    server, kubeconfig, home = shared
    helm(
        *("uninstall", "ringfence", "--namespace", GUEST_SYSTEM, "--kubeconfig", str(kubeconfig)),
        home=home,
    )

    async def check() -> None:
        async with KubernetesApi(server.connection) as api:
            listed = await api.list_page(DEFINITION.path(), {})
            owners = {
                one["metadata"]["annotations"].get("meta.helm.sh/release-namespace")
                for one in listed.items
            }
            assert owners == {SYSTEM}
            assert await api.get(types.DEPLOYMENT, SYSTEM, "operator")
            agent = f"system:serviceaccount:{SYSTEM}:agent"
            group, own = "ringfence.dev", "securityboundaries/payments"
            assert await allowed(api, agent, "patch", group, own, "")

    asyncio.run(check())
