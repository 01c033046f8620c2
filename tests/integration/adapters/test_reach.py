"""The way into a real API server behind the emulated EKS, and its end."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.adapters.helm.release import HelmReleases, ReleaseFailedError
from controlplane.adapters.kubernetes.reach import Budget, NotReachableError, PublicCidrReach
from sandbox.toolchain import find_program
from tests.integration.adapters.rehearsal import account
from tests.sandbox_aws.clusters import active, make_cluster
from tests.sandbox_aws.conftest import Boundary, GateProcess

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

CHART = {
    "Chart.yaml": "apiVersion: v2\nname: probe\nversion: 0.1.0\n",
    "templates/map.yaml": (
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: probe}\n"
        "data: {word: {{ .Values.word | quote }}}\n"
    ),
}


@pytest.fixture(scope="module")
def world() -> Iterator[tuple[Boundary, str]]:
    """A gate with one opened boundary and its ACTIVE cluster."""
    root = Path(tempfile.mkdtemp(prefix="rf-"))
    process = GateProcess(root)
    process.start()
    boundary = process.boundary().create().open(1)
    session = boundary.session(1)
    name = make_cluster(boundary, session)
    active(process.client("eks", session), name)
    yield boundary, name
    process.stop()
    shutil.rmtree(root)


def reach(world: tuple[Boundary, str], folder: Path, cidr: str = "127.0.0.1/32") -> PublicCidrReach:
    budget = Budget(update=60, ready=30, refused=30)
    return PublicCidrReach(account(world[0]), world[1], (cidr,), folder, "run-1", budget)


def kubectl(kubeconfig: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [find_program("kubectl"), "--kubeconfig", kubeconfig, "--request-timeout=10s", *arguments],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "HOME": str(kubeconfig.parent)},
        check=False,
    )


def test_from_a_foreign_address_the_way_does_not_open(
    world: tuple[Boundary, str], tmp_path: Path
) -> None:
    way = PublicCidrReach(
        account(world[0]),
        world[1],
        ("203.0.113.0/24",),
        tmp_path,
        "run-0",
        Budget(update=60, ready=3, refused=30),
    )
    with pytest.raises(NotReachableError, match="does not let us in"):
        way.open()


def test_the_way_opens_serves_helm_and_is_proven_shut(
    world: tuple[Boundary, str], tmp_path: Path
) -> None:
    way = reach(world, tmp_path)
    way.open()
    kubeconfig = way.kubeconfig()
    assert kubeconfig.stat().st_mode & 0o777 == 0o600
    assert "default" in kubectl(kubeconfig, "get", "namespaces", "-o", "name").stdout
    chart = tmp_path / "chart"
    for name, text in CHART.items():
        (chart / name).parent.mkdir(parents=True, exist_ok=True)
        (chart / name).write_text(text)
    helm = HelmReleases(find_program("helm"), tmp_path)
    first = helm.upgrade_install(kubeconfig, "probe", chart, "probing", {"word": "one"})
    again = helm.upgrade_install(kubeconfig, "probe", chart, "probing", {"word": "two"})
    assert (first.revision, again.revision, again.status) == (1, 2, "deployed")
    found = kubectl(kubeconfig, "-n", "probing", "get", "configmap", "probe", "-o", "yaml").stdout
    assert "word: two" in found
    assert list(tmp_path.glob("values-*")) == []
    (chart / "templates/map.yaml").write_text("kind: Nonsense\napiVersion: v9\n")
    with pytest.raises(ReleaseFailedError, match="helm upgrade failed"):
        helm.upgrade_install(kubeconfig, "probe", chart, "probing", {"word": "three"})
    assert helm.uninstall(kubeconfig, "probe", "probing")
    assert not helm.uninstall(kubeconfig, "probe", "probing")
    copy = shutil.copy(kubeconfig, tmp_path / "stolen")
    closed = way.close()
    assert [proof.action for proof in closed.proofs] == [
        "kubernetes:list-namespaces",
        "kubernetes:connect",
    ]
    assert closed.proofs[0].succeeded_before
    assert closed.proofs[0].error_code == "401"
    assert not kubeconfig.exists()
    assert kubectl(Path(copy), "get", "namespaces").returncode != 0
    repeated = way.close()
    assert [proof.succeeded_before for proof in repeated.proofs] == [False]
