"""Two boundaries in one cluster: two releases of the chart on one real API server.

What their pods may send each other needs nodes, and is tested in `test_shared_network`.
"""

from __future__ import annotations

import asyncio
import importlib
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.adapters.helm.release import HelmReleases, ReleaseFailedError
from operators import types
from operators.core.api import ApiError, KubernetesApi, RawObject
from operators.core.connection import ClusterConnection
from sandbox.toolchain import find_program
from tests.architecture.sources import ROOT
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
GUEST_GROUP, INSTALLER = "ringfence-guest-research", "research-runner"
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
NAMESPACED = {
    "Deployment", "NetworkPolicy", "PersistentVolumeClaim", "Role", "RoleBinding", "Secret",
    "Service", "ServiceAccount",
}  # fmt: skip
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
    values["customResources"] = values["clusterScope"] = {"install": False}
    return values


def host_values() -> RawObject:
    """Return the example's values, with the guest let in."""
    values: RawObject = yaml.safe_load(EXAMPLE.read_text())
    return {**values, "guests": [GUEST]}


def as_guest(kubeconfig: Path, home: Path) -> Path:
    """Write how the guest's installer comes in: with one group, and no right but that group's."""
    document = yaml.safe_load(kubeconfig.read_text())
    for one in document["users"]:
        one["user"] |= {"as": INSTALLER, "as-groups": [GUEST_GROUP, "system:authenticated"]}
    path = home / "guest-kubeconfig"
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture(scope="module")
def shared(installed: tuple[ApiServer, Path, Path]) -> tuple[ApiServer, Path, Path]:
    """The example's boundary, and beside it a guest that its own installer has put in."""
    server, kubeconfig, home = installed
    releases = HelmReleases(find_program("helm"), home)
    releases.upgrade_install(kubeconfig, "ringfence", CHART, SYSTEM, host_values())
    own = as_guest(kubeconfig, home)
    releases.upgrade_install(
        own, "ringfence", CHART, GUEST_SYSTEM, guest_values(), create_namespace=False
    )
    return server, kubeconfig, home


def test_a_guest_renders_no_definition_and_no_name_that_its_host_has(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump(guest_values()))
    arguments = ("template", "ringfence", str(CHART), "-n", GUEST_SYSTEM, "-f", str(values))
    guest = [d for d in yaml.safe_load_all(helm(*arguments, home=tmp_path).stdout) if d]
    assert {d["kind"] for d in guest} == NAMESPACED

    def names(objects: list[RawObject]) -> set[tuple[str, str, str]]:
        found = [(o["kind"], o["metadata"]) for o in objects]
        return {(kind, m.get("namespace", ""), m["name"]) for kind, m in found}

    assert len(names(guest)) > 25
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
def test_a_guests_installer_fills_its_own_namespaces_and_reaches_nothing_of_its_host(
    shared: tuple[ApiServer, Path, Path],
) -> None:
    server, _, _ = shared
    inside = [
        ("create", "", "secrets", GUEST_SYSTEM),
        ("create", "apps", "deployments", GUEST_BOUNDARY),
        ("patch", "rbac.authorization.k8s.io", "roles", GUEST_BOUNDARY),
        ("get", "discovery.k8s.io", "endpointslices/kubernetes", "default"),
        ("deletecollection", "", "persistentvolumeclaims", GUEST_BOUNDARY),
        ("deletecollection", "ringfence.dev", "modelinstances", GUEST_BOUNDARY),
        ("delete", "ringfence.dev", "securityboundaries/research", ""),
    ]
    outside = [
        (verb, group, resource, namespace)
        for verb in VERBS
        for namespace in (BOUNDARY, SYSTEM, "kube-system", "default", "")
        for group, resources in (
            ("", (*CORE, "nodes", "namespaces", "persistentvolumes")),
            ("ringfence.dev", (*CUSTOM, "securityboundaries", "securityboundaries/payments")),
            ("apps", ("deployments", "daemonsets")),
            ("rbac.authorization.k8s.io", ("roles", "clusterroles", "clusterrolebindings")),
            ("admissionregistration.k8s.io", ("validatingadmissionpolicies",)),
        )
        for resource in resources
    ]
    # Not even of its own: labels there decide what a pod may do to the node.
    outside += [(v, "", f"namespaces/{GUEST_SYSTEM}", GUEST_SYSTEM) for v in ("patch", "update")]
    outside += [
        ("impersonate", "", "serviceaccounts", BOUNDARY),
        ("create", "", "pods/exec", GUEST_BOUNDARY),
        ("bind", "rbac.authorization.k8s.io", "clusterroles", ""),
        ("escalate", "rbac.authorization.k8s.io", "roles", GUEST_BOUNDARY),
    ]

    async def check() -> None:
        async with KubernetesApi(server.connection) as api:
            for case in inside:
                assert await allowed(api, INSTALLER, *case, groups=(GUEST_GROUP,)), case
            answers = await asyncio.gather(
                *(allowed(api, INSTALLER, *case, groups=(GUEST_GROUP,)) for case in outside)
            )
            assert [c for c, yes in zip(outside, answers, strict=True) if yes] == []

    asyncio.run(check())


@pytest.mark.cluster
def test_a_guests_namespaces_stay_restricted_whoever_writes_their_labels(
    shared: tuple[ApiServer, Path, Path],
) -> None:
    server, _, _ = shared

    async def relabel(api: KubernetesApi, namespace: str, level: str | None) -> str:
        labels = {"pod-security.kubernetes.io/enforce": level}
        body = {"metadata": {"labels": labels}}
        try:
            await api.request(
                "PATCH", f"/api/v1/namespaces/{namespace}", {"dryRun": "All"}, body,
                content_type="application/merge-patch+json",
            )  # fmt: skip
        except ApiError as error:
            return error.message
        return ""

    async def check() -> None:
        async with KubernetesApi(server.connection) as admin:
            for namespace in (GUEST_SYSTEM, GUEST_BOUNDARY):
                for level in ("privileged", None):
                    refused = await until(
                        partial(relabel, admin, namespace, level), what="the policy holds"
                    )
                    assert "the namespaces of guest research stay restricted" in refused
                assert await relabel(admin, namespace, "restricted") == ""

    asyncio.run(check())


@pytest.mark.cluster
def test_a_guests_installer_cannot_give_what_it_does_not_have(
    shared: tuple[ApiServer, Path, Path],
) -> None:
    _, kubeconfig, home = shared
    values = {**guest_values(), "clusterScope": {"install": True}}
    releases = HelmReleases(find_program("helm"), home)
    with pytest.raises(ReleaseFailedError, match="forbidden"):
        releases.upgrade_install(
            as_guest(kubeconfig, home), "wider", CHART, GUEST_SYSTEM, values,
            create_namespace=False,
        )  # fmt: skip


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


@pytest.mark.cluster
def test_a_guests_kit_empties_its_place_with_its_groups_rights_and_nothing_of_its_host(
    shared: tuple[ApiServer, Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server, kubeconfig, home = shared
    monkeypatch.syspath_prepend(str(ROOT / "blueprints/takeover"))
    monkeypatch.setenv("KUBECTL", str(find_program("kubectl")))
    guest_place = importlib.import_module("guest_place")
    facts = {"boundary": GUEST, "host": {"namespaces": [GUEST_BOUNDARY, GUEST_SYSTEM]}}
    left: dict[str, dict[str, Any]] = {
        "configmaps": {"data": {"word": "one"}},
        "secrets": {"stringData": {"word": "one"}},
        "persistentvolumeclaims": {
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Mi"}},
            }
        },
    }
    kinds = "configmaps,secrets,persistentvolumeclaims"

    def found(*scope: str) -> set[str]:
        names = guest_place.run_kubectl(kubeconfig, ["get", *scope, "-o", "name"], tmp_path)
        return set(names.split())

    async def leave() -> None:
        async with KubernetesApi(server.connection) as api:
            for namespace in (GUEST_BOUNDARY, GUEST_SYSTEM, BOUNDARY):
                for kind, body in left.items():
                    path = f"/api/v1/namespaces/{namespace}/{kind}"
                    await api.request("POST", path, body={"metadata": {"name": "left"}, **body})
                # The part of the controller that frees a volume which no pod uses.
                path = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims"
                for one in (await api.request("GET", path)).get("items", []):
                    await api.request(
                        "PATCH", f"{path}/{one['metadata']['name']}",
                        body={"metadata": {"finalizers": None}},
                        content_type="application/merge-patch+json",
                    )  # fmt: skip
            for name, namespace in ((GUEST, GUEST_BOUNDARY), ("payments", BOUNDARY)):
                body = {
                    "apiVersion": "ringfence.dev/v1alpha1",
                    "kind": "SecurityBoundary",
                    "metadata": {"name": name},
                    "spec": {"namespace": namespace, "displayName": "x"},
                }
                await api.request("POST", KIND.path(None), body=body)

    asyncio.run(leave())
    hosts = found(kinds, "-n", BOUNDARY)
    assert {"configmap/left", "secret/left", "persistentvolumeclaim/left"} <= hosts
    guest_place.empty(as_guest(kubeconfig, home), facts, tmp_path)
    for namespace in (GUEST_BOUNDARY, GUEST_SYSTEM):
        assert found(kinds, "-n", namespace) == set()
    assert found("securityboundaries") == {"securityboundary.ringfence.dev/payments"}
    assert found(kinds, "-n", BOUNDARY) == hosts
