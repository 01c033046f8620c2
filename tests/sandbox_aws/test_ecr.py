"""ECR of the rehearsal account: repositories, tokens, and a registry that asks the policies."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from sandbox.node.images import IMAGES
from sandbox.registry.vendor import VendorRegistry
from sandbox.toolchain import find_program
from tests.sandbox_aws.conftest import CUSTOMER, REGION, Boundary, GateProcess
from tests.sandbox_aws.test_sessions import code_of

PROBE = IMAGES["ringfence/probe"]


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with VendorRegistry(tmp_path_factory.mktemp("vendor")) as registry:
        registry.publish("ringfence/probe", PROBE.oci)
        yield registry


@pytest.fixture
def copying(gate: GateProcess) -> Boundary:
    """Make a boundary whose images are copied, opened with number 1."""
    return gate.boundary().create(images="copied").open(1)


def make_repository(boundary: Boundary, name: str = "probe", **more: Any) -> str:
    ecr = boundary.gate.client("ecr", boundary.session())
    made = ecr.create_repository(
        repositoryName=f"ringfence/{boundary.name}/{name}",
        imageTagMutability="IMMUTABLE",
        tags=[{"Key": "ringfence:boundary", "Value": boundary.name}],
        **more,
    )
    return str(made["repository"]["repositoryUri"])


def token_of(boundary: Boundary, session: dict[str, str] | None = None) -> str:
    ecr = boundary.gate.client("ecr", session or boundary.session())
    data = ecr.get_authorization_token()["authorizationData"][0]
    return str(data["authorizationToken"])


def crane(folder: Path, token: str | None, registry: str, *arguments: str) -> tuple[int, str]:
    folder.mkdir(exist_ok=True)
    auths = {registry.partition("/")[0]: {"auth": token}} if token else {}
    (folder / "config.json").write_text(json.dumps({"auths": auths}))
    done = subprocess.run(
        [str(find_program("crane")), *arguments],
        env={"DOCKER_CONFIG": str(folder), "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def copy(folder: Path, token: str | None, vendor: VendorRegistry, to: str) -> tuple[int, str]:
    source = f"{vendor.host}/ringfence/probe@{PROBE.digest}"
    return crane(folder, token, to, "copy", source, f"{to}@{PROBE.digest}")


def read(folder: Path, token: str | None, repository: str) -> tuple[int, str]:
    return crane(folder, token, repository, "manifest", f"{repository}@{PROBE.digest}")


def test_an_image_is_copied_under_its_digest_and_read_back(
    copying: Boundary, vendor: VendorRegistry, tmp_path: Path
) -> None:
    repository, token = make_repository(copying), token_of(copying)
    assert repository.endswith(f"/ringfence/{copying.name}/probe")
    assert copy(tmp_path, token, vendor, repository)[0] == 0
    code, text = read(tmp_path, token, repository)
    assert code == 0
    assert text.encode() == PROBE.oci.manifest
    # The role puts layers in and can not take them out.
    digest, content = next(iter(PROBE.oci.blobs.items()))
    layer = ("blob", f"{repository}@{digest}")
    assert "ecr:GetDownloadUrlForLayer" in crane(tmp_path, token, repository, *layer)[1]
    admin = copying.gate.client("ecr", "customer-admin").get_authorization_token()
    theirs = admin["authorizationData"][0]["authorizationToken"]
    assert crane(tmp_path, theirs, repository, *layer) == (0, content.decode())


def test_a_repository_of_another_boundary_or_without_the_tag_is_denied(copying: Boundary) -> None:
    ecr = copying.gate.client("ecr", copying.session())
    tags = [{"Key": "ringfence:boundary", "Value": copying.name}]
    for name, given in ((f"ringfence/{copying.name}/x", []), ("ringfence/other/x", tags)):
        refused = code_of(lambda n=name, t=given: ecr.create_repository(repositoryName=n, tags=t))
        assert refused == "AccessDeniedException"
    repository = make_repository(copying).partition("/")[2]
    arn = f"arn:aws:ecr:{REGION}:{CUSTOMER}:repository/{repository}"
    stolen = [{"Key": "ringfence:boundary", "Value": "other"}]
    assert (
        code_of(lambda: ecr.tag_resource(resourceArn=arn, tags=stolen)) == "AccessDeniedException"
    )
    removed = code_of(lambda: ecr.untag_resource(resourceArn=arn, tagKeys=["ringfence:boundary"]))
    assert removed == "AccessDeniedException"


def test_a_boundary_that_did_not_ask_for_copies_has_no_way_to_the_registry(
    opened: Boundary,
) -> None:
    ecr = opened.gate.client("ecr", opened.session())
    assert code_of(ecr.get_authorization_token) == "AccessDeniedException"


def test_a_registry_refuses_what_is_not_there_and_who_may_not(
    copying: Boundary, vendor: VendorRegistry, gate: GateProcess, tmp_path: Path
) -> None:
    repository, token = make_repository(copying), token_of(copying)
    code, text = copy(tmp_path, token, vendor, f"{repository}-unknown")
    assert (code, "NAME_UNKNOWN" in text) == (1, True)
    forged = base64.b64encode(b"AWS:made-up").decode()
    neighbour = token_of(gate.boundary().create(images="copied").open(1))
    for who, words in (
        (None, "UNAUTHORIZED"),
        (forged, "token is invalid"),
        (neighbour, "not authorized to perform: ecr:BatchGetImage"),
    ):
        assert copy(tmp_path, who, vendor, repository)[0] == 1
        code, text = read(tmp_path, who, repository)
        assert (code, words in text) == (1, True), text


def test_a_token_ends_with_its_role(
    copying: Boundary, vendor: VendorRegistry, tmp_path: Path
) -> None:
    repository, token = make_repository(copying), token_of(copying)
    copying.open(2)
    assert copy(tmp_path, token, vendor, repository)[0] == 1
    code, text = read(tmp_path, token, repository)
    assert (code, "authorization token is invalid" in text) == (1, True)


def test_images_survive_a_restart_and_go_with_their_repository(
    own_gate: GateProcess, vendor: VendorRegistry, tmp_path: Path
) -> None:
    boundary = own_gate.boundary().create(images="copied").open(1)
    repository, token = make_repository(boundary), token_of(boundary)
    assert copy(tmp_path, token, vendor, repository)[0] == 0
    name = repository.partition("/")[2]
    own_gate.stop()
    own_gate.start()
    host = own_gate.endpoint.removeprefix("http://").replace("127.0.0.1", "localhost")
    there = f"{host}/{name}@{PROBE.digest}"
    assert crane(tmp_path, token_of(boundary), there, "manifest", there)[0] == 0
    ecr = own_gate.client("ecr", boundary.session())
    assert (
        code_of(lambda: ecr.delete_repository(repositoryName=name)) == "RepositoryNotEmptyException"
    )
    ecr.delete_repository(repositoryName=name, force=True)
    make_repository(boundary)
    code, text = crane(tmp_path, token_of(boundary), there, "manifest", there)
    assert (code, "MANIFEST_UNKNOWN" in text) == (1, True)
