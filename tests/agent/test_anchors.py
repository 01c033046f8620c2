"""Anchoring: the agent keeps what follows, once, and shows what does not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import boto3
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from moto import mock_aws

from agent.anchors import Anchors
from agent.bundles import Trust
from agent.cloud import Cloud, CloudError
from agent.identity import Volume
from proof.audit_log import verify_export
from proof.keys import fingerprint
from tests.unit.proof.audit_exports import CHAIN, Export, make_checkpoints, make_events, rehash
from wire.audit import CheckpointAnchored, CheckpointBatch, SignedCheckpoint

VENDOR = Ed25519PrivateKey.generate()
CUSTOMER = Ed25519PrivateKey.generate()
SIZES = (10, 25, 38)
EVENTS = make_events(40)
CHECKPOINTS = make_checkpoints(EVENTS, SIZES, VENDOR)


@dataclass
class ControlPlane:
    """Gives what is not reported yet, as the control plane does."""

    offered: list[SignedCheckpoint]
    reports: list[CheckpointAnchored] = field(default_factory=list)
    loses_reports: bool = False

    async def checkpoints(self) -> CheckpointBatch:
        return CheckpointBatch(checkpoints=tuple(self.offered))

    async def push_anchored(self, report: CheckpointAnchored) -> None:
        if self.loses_reports:
            raise ConnectionError
        self.reports.append(report)


@dataclass
class Bucket:
    """Stands for the customer's bucket: names written once."""

    objects: dict[str, bytes] = field(default_factory=dict)

    def put_once(self, bucket: str, name: str, body: bytes) -> None:
        if self.objects.setdefault(name, body) != body:
            raise CloudError(f"{name} has another content already")

    def read_object(self, bucket: str, name: str) -> bytes | None:
        return self.objects.get(name)

    def kept(self) -> list[SignedCheckpoint]:
        return [SignedCheckpoint.from_wire(json.loads(body)) for body in self.objects.values()]


def anchors(
    folder: Path, offered: Sequence[SignedCheckpoint], bucket: Any, boundary: UUID = CHAIN
) -> tuple[Anchors, ControlPlane]:
    """Return an agent's loop over a bucket."""
    trust = Trust(VENDOR.public_key(), CUSTOMER.public_key(), boundary, "payments", "boundary")
    control_plane = ControlPlane(list(offered))
    made = Anchors(control_plane, bucket, Volume(folder), trust, "b")  # type: ignore[arg-type]
    return made, control_plane


def names(bucket: Bucket) -> list[str]:
    return sorted(name.rsplit("/", 1)[1] for name in bucket.objects)


def test_checkpoints_are_kept_in_order_and_reported(tmp_path: Path) -> None:
    bucket = Bucket()
    loop, control_plane = anchors(tmp_path, CHECKPOINTS, bucket)
    asyncio.run(loop.run_once())
    assert names(bucket) == [f"{size:020}.json" for size in SIZES]
    assert [(r.size, r.location) for r in control_plane.reports] == [
        (size, f"s3://b/audit/checkpoints/{size:020}.json") for size in SIZES
    ]
    assert bucket.kept() == CHECKPOINTS


def test_a_lost_report_is_made_again_and_nothing_is_written_twice(tmp_path: Path) -> None:
    bucket = Bucket()
    loop, control_plane = anchors(tmp_path, CHECKPOINTS, bucket)
    control_plane.loses_reports = True
    with pytest.raises(ConnectionError):
        asyncio.run(loop.run_once())
    control_plane.loses_reports = False
    asyncio.run(loop.run_once())
    asyncio.run(loop.run_once())
    assert names(bucket) == [f"{size:020}.json" for size in SIZES]
    assert [r.size for r in control_plane.reports] == [*SIZES, *SIZES]


def test_a_new_agent_takes_up_what_the_bucket_has(tmp_path: Path) -> None:
    bucket = Bucket()
    loop, _ = anchors(tmp_path / "old", CHECKPOINTS[:2], bucket)
    asyncio.run(loop.run_once())
    loop, control_plane = anchors(tmp_path / "new", CHECKPOINTS[2:], bucket)
    asyncio.run(loop.run_once())
    assert [r.size for r in control_plane.reports] == [38]


def rewritten(sizes: Sequence[int]) -> list[SignedCheckpoint]:
    """Return checkpoints of another history, signed by the vendor's own key."""
    events = [dict(event) for event in EVENTS]
    events[4]["target"] = "boundary/other"
    return make_checkpoints(rehash(events, 4), sizes, VENDOR)


@pytest.mark.parametrize("fresh", [False, True], ids=["same-agent", "new-agent"])
def test_another_history_is_refused_and_kept_as_evidence(tmp_path: Path, fresh: bool) -> None:
    bucket = Bucket()
    loop, _ = anchors(tmp_path / "a", CHECKPOINTS[:2], bucket)
    asyncio.run(loop.run_once())
    other = rewritten(SIZES)[2:]
    loop, control_plane = anchors(tmp_path / ("b" if fresh else "a"), other, bucket)
    asyncio.run(loop.run_once())
    assert control_plane.reports == []
    (evidence,) = [name for name in names(bucket) if name.startswith("refused-")]
    assert evidence.startswith(f"refused-{38:020}-")
    # Whoever verifies the rewritten chain with this bucket sees it.
    events = rehash([*EVENTS[:4], {**EVENTS[4], "target": "boundary/other"}, *EVENTS[5:]], 4)
    export = Export(events, rewritten(SIZES), VENDOR)
    pins = frozenset({fingerprint(VENDOR)})
    assert verify_export(export.lines, pins).holds
    assert not verify_export(export.lines, pins, bucket.kept()).holds


def test_an_older_checkpoint_with_another_root_is_refused(tmp_path: Path) -> None:
    bucket = Bucket()
    loop, _ = anchors(tmp_path, CHECKPOINTS, bucket)
    asyncio.run(loop.run_once())
    loop, control_plane = anchors(tmp_path, rewritten((10,)), bucket)
    asyncio.run(loop.run_once())
    assert control_plane.reports == []
    assert len([name for name in names(bucket) if name.startswith("refused-")]) == 1


def test_another_key_and_another_boundary_leave_no_trace(tmp_path: Path) -> None:
    bucket = Bucket()
    forged = make_checkpoints(EVENTS, (10,), Ed25519PrivateKey.generate())
    for offered, boundary in ((forged, CHAIN), (CHECKPOINTS, UUID(int=99))):
        loop, control_plane = anchors(tmp_path, offered, bucket, boundary)
        asyncio.run(loop.run_once())
        assert control_plane.reports == []
    assert bucket.objects == {}


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """The agent's client on a bucket that knows conditional writes."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with mock_aws():
        boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="customer-bucket")
        yield Cloud("us-east-1")


def test_an_object_is_written_once(cloud: Cloud) -> None:
    assert cloud.read_object("customer-bucket", "audit/checkpoints/1.json") is None
    cloud.put_once("customer-bucket", "audit/checkpoints/1.json", b"first")
    cloud.put_once("customer-bucket", "audit/checkpoints/1.json", b"first")
    with pytest.raises(CloudError, match="has another content already"):
        cloud.put_once("customer-bucket", "audit/checkpoints/1.json", b"second")
    assert cloud.read_object("customer-bucket", "audit/checkpoints/1.json") == b"first"
