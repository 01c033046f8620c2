"""Images are copied between two real registries, with the role's policies in between."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from controlplane.adapters.aws import inventory
from controlplane.adapters.aws.registry import CopiedImage, Image, copy_image
from controlplane.adapters.pulumi.adoption import ADOPTIONS, Pending
from controlplane.core.errors import (
    ConflictError,
    ForbiddenError,
    InvalidRequestError,
    NotFoundError,
    QuotaError,
    RingfenceError,
    UnauthenticatedError,
    UnavailableError,
)
from sandbox.aws.ledger import read_ledger
from sandbox.node.images import IMAGES
from sandbox.registry.oci import OciImage, build
from sandbox.registry.vendor import VendorRegistry
from sandbox.toolchain import find_program
from tests.integration.adapters.rehearsal import account
from tests.integration.adapters.support import until
from tests.sandbox_aws.conftest import Boundary, GateProcess, gate
from tests.sandbox_aws.test_ecr import make_repository

__all__ = ["gate"]
NAME = "ringfence/probe"
PROBE = IMAGES[NAME].oci


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VendorRegistry]:
    with VendorRegistry(tmp_path_factory.mktemp("vendor")) as registry:
        registry.publish(NAME, PROBE)
        yield registry


@pytest.fixture
def copying(gate: GateProcess) -> Boundary:
    return gate.boundary().create(images="copied").open(1)


def never() -> None:
    """Let the copy go on."""


def copied(
    boundary: Boundary, folder: Path, image: Image, check: Callable[[], None] = never
) -> CopiedImage:
    return copy_image(account(boundary), find_program("crane"), folder, image, check)


def pushes(boundary: Boundary) -> list[str]:
    return [
        entry["operation"]
        for entry in read_ledger(boundary.gate.root / "data")
        if entry["boundary"] == boundary.name
        and entry["service"] == "ecr"
        and entry["outcome"] == "done"
        and entry["operation"] != "CreateRepository"
    ]


@contextmanager
def fault(boundary: Boundary, **rule: object) -> Iterator[None]:
    """Strike the boundary's calls of ECR by one rule."""
    run = boundary.gate.root / "run"
    (run / "aws-faults-struck.jsonl").unlink(missing_ok=True)
    whole = {"service": "ecr", "boundary": boundary.name, **rule}
    (run / "aws-faults.json").write_text(json.dumps({"rules": [whole]}))
    try:
        yield
    finally:
        (run / "aws-faults.json").unlink()


def was_struck(boundary: Boundary, operation: str) -> bool:
    struck = boundary.gate.root / "run/aws-faults-struck.jsonl"
    return struck.exists() and operation in struck.read_text()


def test_an_image_arrives_once_under_its_digest(
    copying: Boundary, vendor: VendorRegistry, tmp_path: Path
) -> None:
    image = Image(NAME, f"{vendor.host}/{NAME}@{PROBE.digest}", make_repository(copying))
    first = copied(copying, tmp_path, image)
    size = sum(len(content) for content in PROBE.blobs.values())
    assert first == CopiedImage(NAME, PROBE.digest, image.reference, size, copied=True)
    made = pushes(copying)
    assert made.count("PutImage") == 1
    again = copied(copying, tmp_path, image)
    assert again == CopiedImage(NAME, PROBE.digest, image.reference, size, copied=False)
    assert pushes(copying) == made


def test_an_image_for_several_platforms_arrives_whole(
    copying: Boundary, vendor: VendorRegistry, tmp_path: Path
) -> None:
    both = {one: build({"for": one}, ["x"], 1, one) for one in ("amd64", "arm64")}
    source = vendor.publish_index("ringfence/both", both)
    done = copied(copying, tmp_path, Image("ringfence/both", source, make_repository(copying)))
    assert done.reference.endswith(source.partition("@")[2])
    assert done.size == sum(len(b) for image in both.values() for b in image.blobs.values())


def test_no_secret_is_left_and_none_was_in_arguments_or_environment(
    copying: Boundary, vendor: VendorRegistry, tmp_path: Path
) -> None:
    image = Image(NAME, f"{vendor.host}/{NAME}@{PROBE.digest}", make_repository(copying))
    seen = tmp_path / "seen"
    spy = tmp_path / "crane"
    spy.write_text(
        "#!/bin/bash\n"
        f'{{ echo "$@"; env; stat -c %a "$DOCKER_CONFIG" "$DOCKER_CONFIG/config.json"; '
        f'}} >> {seen}\ncp "$DOCKER_CONFIG/config.json" {tmp_path}/held\n'
        f'exec {find_program("crane")} "$@"\n'
    )
    spy.chmod(0o755)
    work = tmp_path / "work"
    work.mkdir()
    copy_image(account(copying), spy, work, image, never)
    auths = json.loads((tmp_path / "held").read_text())["auths"]
    (token,) = [one["auth"] for one in auths.values()]
    text = seen.read_text()
    assert token not in text
    assert text.splitlines().count("700") == text.splitlines().count("600") == 3
    assert list(work.iterdir()) == []


def refusal(boundary: Boundary, folder: Path, image: Image) -> RingfenceError:
    with pytest.raises(RingfenceError) as caught:
        copied(boundary, folder, image)
    assert list(folder.iterdir()) == []
    return caught.value


def test_what_cannot_be_copied_says_why_and_what_to_do(
    copying: Boundary, vendor: VendorRegistry, tmp_path: Path
) -> None:
    repository = make_repository(copying)
    source = f"{vendor.host}/{NAME}@{PROBE.digest}"
    absent = f"{vendor.host}/{NAME}@sha256:{'0' * 64}"
    silent = f"localhost:1/{NAME}@{PROBE.digest}"
    for where, to, family, code in (
        (f"{vendor.host}/{NAME}:latest", repository, InvalidRequestError, "no-digest"),
        (absent, repository, NotFoundError, "image-not-found"),
        (silent, repository, UnavailableError, "registry-unavailable"),
        (source, f"{repository}-unmade", NotFoundError, "no-repository"),
    ):
        found = refusal(copying, tmp_path, Image(NAME, where, to))
        assert (type(found), found.stable_code) == (family, code), found
        assert where in str(found)
        if code != "no-digest":
            assert to in str(found)
        assert found.fix or found.retryable
    foreign = repository.replace(copying.name, "another")
    found = refusal(copying, tmp_path, Image(NAME, source, foreign))
    assert (type(found), found.stable_code) == (ForbiddenError, "aws-denied")


def test_a_registry_that_gives_other_bytes_is_found_out(
    copying: Boundary, vendor: VendorRegistry, tmp_path: Path
) -> None:
    forged = OciImage(
        PROBE.manifest.replace(b'"schemaVersion":2', b'"schemaVersion": 2'), PROBE.blobs
    )
    vendor.publish_as("ringfence/forged", "sha256:" + "1" * 64, forged)
    image = Image("ringfence/forged", f"{vendor.host}/ringfence/forged@sha256:{'1' * 64}",
                  make_repository(copying))  # fmt: skip
    found = refusal(copying, tmp_path, image)
    assert (type(found), found.stable_code) == (ConflictError, "wrong-digest"), found
    assert pushes(copying) == []


def test_a_session_that_ended_is_told_from_a_refusal(
    copying: Boundary, vendor: VendorRegistry, tmp_path: Path
) -> None:
    image = Image(NAME, f"{vendor.host}/{NAME}@{PROBE.digest}", make_repository(copying))
    with fault(copying, kind="expire", operation="InitiateLayerUpload", call=1):
        found = refusal(copying, tmp_path, image)
    assert (type(found), found.stable_code) == (UnauthenticatedError, "aws-session-ended"), found
    assert copied(copying, tmp_path, image).copied


def test_a_repository_is_found_again_by_its_name_and_counted_after_a_removal(
    copying: Boundary,
) -> None:
    name = make_repository(copying).partition("/")[2]
    role = account(copying)
    kind = "aws:ecr/repository:Repository"
    for wanted, found in ((name, [name]), (f"{name}-gone", [])):
        pending = Pending("urn:pulumi:x", kind, {"name": wanted})
        assert ADOPTIONS[kind].find(role, pending) == found
    left = [item for item in inventory.take(role, {}, images=True) if "repos" in item.kind]
    assert [(item.kind, item.name, item.expected) for item in left] == [
        ("image-repository", name, False)
    ]


@pytest.mark.parametrize(
    ("kind", "operation", "family", "code"),
    [
        ("throttle", "CompleteLayerUpload", QuotaError, "aws-throttled"),
        ("deny", "PutImage", ForbiddenError, "aws-denied"),
        ("error-though-done", "PutImage", UnavailableError, "registry-unavailable"),
    ],
)
def test_a_fault_of_the_account_is_told_by_its_kind_and_the_copy_goes_on_from_there(
    copying: Boundary,
    vendor: VendorRegistry,
    tmp_path: Path,
    kind: str,
    operation: str,
    family: type[RingfenceError],
    code: str,
) -> None:
    image = Image(NAME, f"{vendor.host}/{NAME}@{PROBE.digest}", make_repository(copying))
    with fault(copying, kind=kind, operation=operation, every=True):
        found = refusal(copying, tmp_path, image)
    assert (type(found), found.stable_code) == (family, code), found
    was_done = kind == "error-though-done"
    assert copied(copying, tmp_path, image).copied is not was_done
    if not was_done:
        assert pushes(copying).count("PutImage") == 1


def test_a_worker_killed_in_the_middle_takes_crane_along_and_the_next_leaves_nothing_of_it(
    copying: Boundary, vendor: VendorRegistry, tmp_path: Path
) -> None:
    image = Image(NAME, f"{vendor.host}/{NAME}@{PROBE.digest}", make_repository(copying))
    with fault(copying, kind="latency", operation="PutImage", call=1, seconds=3600000):
        worker = multiprocessing.get_context("fork").Process(
            target=copied, args=(copying, tmp_path, image)
        )
        worker.start()
        until(lambda: was_struck(copying, "PutImage"), seconds=30, what="the manifest's push")
        assert _cranes(tmp_path)
        worker.kill()
        worker.join()
    until(lambda: _cranes(tmp_path) == [], seconds=10, what="the end of crane")
    assert copied(copying, tmp_path, image).copied
    assert list(tmp_path.iterdir()) == []


class StoppedError(Exception):
    pass


def test_a_copy_that_is_stopped_leaves_no_process_and_is_played_again(
    copying: Boundary, vendor: VendorRegistry, tmp_path: Path
) -> None:
    image = Image(NAME, f"{vendor.host}/{NAME}@{PROBE.digest}", make_repository(copying))

    def stop() -> None:
        if was_struck(copying, "PutImage"):
            raise StoppedError

    with (
        fault(copying, kind="latency", operation="PutImage", call=1, seconds=3600000),
        pytest.raises(StoppedError),
    ):
        copied(copying, tmp_path, image, stop)
    assert list(tmp_path.iterdir()) == []
    assert _cranes(tmp_path) == []
    assert copied(copying, tmp_path, image).copied
    assert pushes(copying).count("PutImage") == 1


def _cranes(folder: Path) -> list[str]:
    """Return the processes whose environment names a folder."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            environment = (process / "environ").read_bytes() if process.name.isdigit() else b""
        except OSError:
            continue
        if f"DOCKER_CONFIG={folder}".encode() in environment and process.name != str(os.getpid()):
            found.append(process.name)
    return found
