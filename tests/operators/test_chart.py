"""The chart boundary-stack by the real helm: what it renders, refuses, installs and allows."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.adapters.helm.release import HelmReleases
from operators.core.api import KubernetesApi, RawObject, ResourceType
from sandbox.toolchain import find_program
from tests.operators.apiserver import ApiServer

CHART = Path(__file__).resolve().parents[2] / "charts" / "boundary-stack"
EXAMPLE = CHART / "ci" / "example-values.yaml"
SYSTEM, BOUNDARY = "ringfence-system", "boundary-payments"
SECRET = ResourceType("v1", "Secret", "secrets")
ACCOUNTS = {
    "agent": f"system:serviceaccount:{SYSTEM}:agent",
    "operator": f"system:serviceaccount:{SYSTEM}:operator",
    "gateway": f"system:serviceaccount:{BOUNDARY}:gateway",
    "fetcher": f"system:serviceaccount:{BOUNDARY}:fetcher",
    "engine": f"system:serviceaccount:{BOUNDARY}:engine",
}
ALLOWED = [
    ("agent", "patch", "ringfence.dev", "modelinstances", BOUNDARY),
    ("agent", "delete", "ringfence.dev", "adapterbindings", BOUNDARY),
    ("agent", "patch", "ringfence.dev", "securityboundaries/payments", ""),
    ("agent", "list", "ringfence.dev", "securityboundaries/payments", ""),
    ("operator", "watch", "ringfence.dev", "securityboundaries/payments", ""),
    ("agent", "list", "", "services", BOUNDARY),
    ("operator", "patch", "apps", "deployments", BOUNDARY),
    ("operator", "watch", "", "pods", BOUNDARY),
    ("operator", "patch", "ringfence.dev", "modelinstances/status", BOUNDARY),
    ("gateway", "watch", "ringfence.dev", "gatewayaccesses", BOUNDARY),
    ("gateway", "create", "authentication.k8s.io", "tokenreviews", ""),
]
DENIED = [
    ("agent", "get", "", "secrets", SYSTEM),
    ("agent", "list", "ringfence.dev", "securityboundaries", ""),
    ("agent", "patch", "ringfence.dev", "securityboundaries/research", ""),
    ("operator", "watch", "ringfence.dev", "securityboundaries", ""),
    ("agent", "list", "", "secrets", BOUNDARY),
    ("agent", "create", "", "pods", BOUNDARY),
    ("agent", "create", "apps", "deployments", BOUNDARY),
    ("agent", "patch", "ringfence.dev", "modelinstances/status", BOUNDARY),
    ("agent", "create", "networking.k8s.io", "networkpolicies", BOUNDARY),
    ("agent", "patch", "ringfence.dev", "modelinstances", "default"),
    ("operator", "get", "", "secrets", BOUNDARY),
    ("operator", "list", "", "secrets", SYSTEM),
    ("operator", "create", "apps", "deployments", SYSTEM),
    ("operator", "patch", "apps", "deployments", "kube-system"),
    ("operator", "patch", "ringfence.dev", "modelinstances", BOUNDARY),
    ("operator", "create", "", "namespaces", ""),
    ("operator", "create", "rbac.authorization.k8s.io", "rolebindings", BOUNDARY),
    ("operator", "create", "", "pods/exec", BOUNDARY),
    ("gateway", "patch", "ringfence.dev", "gatewayaccesses", BOUNDARY),
    ("gateway", "get", "", "secrets", BOUNDARY),
    ("gateway", "list", "ringfence.dev", "modelinstances", "default"),
    ("fetcher", "get", "ringfence.dev", "modelartifacts", BOUNDARY),
    ("engine", "get", "", "configmaps", BOUNDARY),
]


def helm(*arguments: str, home: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run helm with a home of its own."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(home)}
    done = subprocess.run(
        [str(find_program("helm")), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    if check and done.returncode != 0:
        raise AssertionError(f"helm {arguments[0]}: {done.stderr[-3000:]}")
    return done


def render(home: Path, *settings: str) -> list[RawObject]:
    """Render the chart with the example values and some settings on top."""
    extra = [part for setting in settings for part in ("--set", setting)]
    done = helm(
        "template", "ringfence", str(CHART), "-n", SYSTEM, "-f", str(EXAMPLE), *extra, home=home
    )
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def pod_specs(objects: list[RawObject]) -> dict[str, RawObject]:
    """Return the pod spec of every workload by name."""
    return {
        o["metadata"]["name"]: o["spec"]["template"]["spec"]
        for o in objects
        if o["kind"] == "Deployment"
    }


def test_the_chart_lints_strictly(tmp_path: Path) -> None:
    helm("lint", "--strict", str(CHART), "-f", str(EXAMPLE), home=tmp_path)


def test_every_pod_satisfies_the_restricted_level_and_mounts_a_token_only_if_it_needs_one(
    tmp_path: Path,
) -> None:
    specs = pod_specs(render(tmp_path))
    assert set(specs) == {"operator", "agent", "gateway", "postgres"}
    for name, spec in specs.items():
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["automountServiceAccountToken"] is (name != "postgres")
        for container in spec["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert "@sha256:" in container["image"]
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}


def test_no_secret_is_in_an_environment_or_an_argument(tmp_path: Path) -> None:
    objects = render(tmp_path, "agent.enrolmentToken=canary-token-0123456789")
    holders = {o["kind"] for o in objects if "canary-token" in json.dumps(o)}
    assert holders == {"Secret"}
    for spec in pod_specs(objects).values():
        for container in spec["containers"]:
            assert all("secretKeyRef" not in json.dumps(e) for e in container["env"])


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("images.ringfence/gateway=ringfence/gateway:latest", "by digest"),
        ("boundary.id=not-a-uuid", "boundary"),
        ("boundary.unknownField=x", "unknownField"),
        ("network.vpcCidr=", "vpcCidr"),
        ("agent.controlPlaneUrl=https://control.vendor.test", "controlPlaneCidrs"),
        ("gateway.replicas=2", "replicas"),
    ],
)
def test_the_chart_refuses_and_names_the_value(tmp_path: Path, setting: str, words: str) -> None:
    done = helm(
        "template",
        "x",
        str(CHART),
        "-f",
        str(EXAMPLE),
        "--set",
        setting,
        home=tmp_path,
        check=False,
    )
    assert done.returncode != 0
    assert words in done.stderr


def test_egress_of_the_agent_is_the_vendor_aws_the_api_server_and_the_gateway(
    tmp_path: Path,
) -> None:
    policies = {
        (o["metadata"]["namespace"], o["metadata"]["name"]): o["spec"]
        for o in render(tmp_path, "network.dns=false")
        if o["kind"] == "NetworkPolicy"
    }
    for namespace in (SYSTEM, BOUNDARY):
        deny = policies[namespace, "default-deny"]
        assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    found = set()
    for rule in policies[SYSTEM, "agent"]["egress"]:
        for peer in rule["to"]:
            where = peer.get("ipBlock", {}).get("cidr") or "gateway"
            found |= {(where, port["port"]) for port in rule["ports"]}
    assert found == {
        ("10.20.0.0/16", 443),
        ("10.20.0.0/16", 6443),
        ("203.0.113.10/32", 443),
        ("169.254.170.23/32", 80),
        ("gateway", 8081),
    }
    operator = policies[SYSTEM, "operator"]["egress"]
    assert all("169.254" not in json.dumps(r) and "203.0" not in json.dumps(r) for r in operator)


@pytest.fixture(scope="module")
def installed(
    server: ApiServer, tmp_path_factory: pytest.TempPathFactory
) -> tuple[ApiServer, Path, Path]:
    """The chart on the real API server, and the kubeconfig and home that helm used."""
    home = tmp_path_factory.mktemp("helm")
    kubeconfig = home / "kubeconfig"
    connection = server.connection
    authority = base64.b64encode(connection.ca_file.read_bytes()).decode()
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "clusters": [
            {
                "name": "c",
                "cluster": {
                    "server": connection.base_url,
                    "certificate-authority-data": authority,
                },
            }
        ],
        "users": [{"name": "u", "user": {"tokenFile": str(connection.token_file)}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    }
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_text(json.dumps(content))
    install(kubeconfig, home)
    return server, kubeconfig, home


def install(kubeconfig: Path, home: Path) -> None:
    """Install or upgrade as the control plane does, through its own adapter."""
    values = yaml.safe_load(EXAMPLE.read_text())
    releases = HelmReleases(find_program("helm"), home)
    releases.upgrade_install(kubeconfig, "ringfence", CHART, SYSTEM, values)


@pytest.mark.cluster
def test_an_upgrade_and_a_reinstall_keep_the_database_password(
    installed: tuple[ApiServer, Path, Path],
) -> None:
    server, kubeconfig, home = installed

    async def password() -> str:
        async with KubernetesApi(server.connection) as api:
            secret = await api.get(SECRET, BOUNDARY, "gateway-database")
            return str(secret["data"]["password"])

    before = asyncio.run(password())
    install(kubeconfig, home)
    assert asyncio.run(password()) == before
    # Uninstalling keeps data and what opens it, so that the chart can come back.
    chosen = ["--namespace", SYSTEM, "--kubeconfig", str(kubeconfig)]
    helm("uninstall", "ringfence", *chosen, home=home)
    assert asyncio.run(password()) == before
    install(kubeconfig, home)
    assert asyncio.run(password()) == before


NAMED = frozenset({"securityboundaries", "endpointslices", "namespaces"})
"""Resources that are asked for by name."""


async def allowed(
    api: KubernetesApi,
    user: str,
    verb: str,
    group: str,
    resource: str,
    namespace: str,
    *,
    groups: tuple[str, ...] = (),
) -> bool:
    """Ask the API server; `resource` is a plural, with `/part` or, where named, `/name`."""
    plural, _, rest = resource.partition("/")
    attributes: dict[str, Any] = {
        "verb": verb,
        "group": group,
        "resource": plural,
        "name" if plural in NAMED and rest != "status" else "subresource": rest,
        "namespace": namespace,
    }
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": user, "groups": [*groups], "resourceAttributes": attributes},
    }
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    return bool((await api.request("POST", path, body=body))["status"]["allowed"])


@pytest.mark.cluster
def test_each_service_account_may_do_what_it_needs_and_nothing_else(
    installed: tuple[ApiServer, Path, Path],
) -> None:
    server, _, _ = installed

    async def review(case: tuple[str, str, str, str, str]) -> bool:
        account, verb, group, resource, namespace = case
        async with KubernetesApi(server.connection) as api:
            return await allowed(api, ACCOUNTS[account], verb, group, resource, namespace)

    async def check() -> None:
        wrong = [f"{case} is denied" for case in ALLOWED if not await review(case)]
        wrong += [f"{case} is allowed" for case in DENIED if await review(case)]
        assert wrong == []

    asyncio.run(check())


@pytest.mark.cluster
def test_both_namespaces_enforce_the_restricted_level(
    installed: tuple[ApiServer, Path, Path],
) -> None:
    server, _, _ = installed

    async def check() -> None:
        async with KubernetesApi(server.connection) as api:
            for name in (SYSTEM, BOUNDARY):
                namespace = await api.request("GET", f"/api/v1/namespaces/{name}")
                labels = namespace["metadata"]["labels"]
                assert labels["pod-security.kubernetes.io/enforce"] == "restricted"

    asyncio.run(check())
