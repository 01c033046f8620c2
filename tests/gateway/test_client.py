"""The Python client against a real gateway: nothing lost, nothing twice, no text."""

from __future__ import annotations

import inspect
import json
import os
import time
from pathlib import Path
from uuid import uuid4

import pytest
from pydantic import ValidationError

from ringfence.usage import (
    ApplyMode,
    CommentType,
    Decision,
    EventSpool,
    Feature,
    Horizon,
    Language,
    SpoolInUseError,
    UsageClient,
)
from ringfence.usage.spool import read_segment
from tests.gateway.parts import Boundary, until
from tests.gateway.reporter import Reporter


def make(boundary: Boundary, folder: Path, interval: float | None = None) -> UsageClient:
    return UsageClient(boundary.url, boundary.key, folder, interval_seconds=interval)


def show(client: UsageClient, number: int = 1) -> None:
    for _ in range(number):
        client.shown(uuid4(), lines_suggested_add=3, visible_ms=900, feature=Feature.CHAT_ASK)


def test_every_kind_of_event_is_taken(bare_boundary: Boundary, tmp_path: Path) -> None:
    reporter = Reporter(bare_boundary)
    change = uuid4()
    with make(bare_boundary, tmp_path / "client") as client:
        client.shown(change, lines_suggested_add=3, visible_ms=900, language=Language.GO)
        client.decided(change, Decision.PARTIAL, decision_ms=100, lines_accepted=2)
        client.applied(change, apply_mode=ApplyMode.USER, lines_added=2, lines_deleted=0)
        client.undone(change, lines_undone=1, after_ms=5000)
        client.survived(Horizon.MERGE, unchanged=1, modified=0, deleted=0)
        client.review(suggested=3, applied=1, comment_type=CommentType.BUG)
        assert client.flush()
        assert (client.settled.accepted, client.settled.rejected) == (6, 0)
    assert reporter.count() == 6
    assert not list((tmp_path / "client").glob("*.ndjson"))


def test_events_wait_on_disk_for_a_gateway_that_is_away_and_are_stored_once(
    bare_boundary: Boundary, tmp_path: Path
) -> None:
    reporter = Reporter(bare_boundary)
    client = make(bare_boundary, tmp_path / "client")
    show(client, 700)
    port = bare_boundary.url.rsplit(":", 1)[1]
    bare_boundary.kill()
    assert not client.flush()
    assert client.settled.failures == 1
    client.close()
    waiting = sorted((tmp_path / "client").glob("*.ndjson"))
    assert [len(read_segment(path)) for path in waiting] == [500, 200]
    copies = {path: path.read_bytes() for path in waiting}
    bare_boundary.start()
    assert bare_boundary.url.rsplit(":", 1)[1] != port
    with make(bare_boundary, tmp_path / "client") as again:
        assert again.flush()
        assert again.settled.accepted == 700
    # As if the answer had been lost after the commit.
    for path, content in copies.items():
        path.write_bytes(content)
    with make(bare_boundary, tmp_path / "client") as third:
        assert third.flush()
        assert (third.settled.accepted, third.settled.duplicates) == (0, 700)
    assert reporter.count() == 700


def test_the_thread_sends_by_itself_once_the_gateway_is_back(
    bare_boundary: Boundary, tmp_path: Path
) -> None:
    reporter = Reporter(bare_boundary)
    with make(bare_boundary, tmp_path / "client", interval=0.05) as client:
        show(client, 3)
        until(lambda: client.settled.accepted == 3)
    assert reporter.count() == 3


def test_a_refused_event_is_not_sent_for_ever(bare_boundary: Boundary, tmp_path: Path) -> None:
    Reporter(bare_boundary)
    with make(bare_boundary, tmp_path / "client") as client:
        show(client)
        assert client.flush()
        show(client)
        client._spool.seal()
        (segment,) = client._spool.pending
        event = json.loads(segment.read_text())
        event["data"]["files"] = -1
        segment.write_text(json.dumps(event) + "\n")
        assert client.flush()
        assert (client.settled.accepted, client.settled.rejected) == (1, 1)
        assert client._spool.pending == []


def test_a_key_that_is_refused_keeps_the_events(bare_boundary: Boundary, tmp_path: Path) -> None:
    Reporter(bare_boundary)
    wrong = UsageClient(
        bare_boundary.url, "rfk_" + "A" * 43, tmp_path / "client", interval_seconds=None
    )
    show(wrong)
    assert not wrong.flush()
    assert wrong.settled.last_status == 401
    wrong.close()
    assert len(list((tmp_path / "client").glob("*.ndjson"))) == 1


def test_a_full_spool_gives_up_the_oldest_and_counts_it(tmp_path: Path) -> None:
    spool = EventSpool(tmp_path / "client", max_bytes=1000, batch=10)
    for number in range(100):
        spool.append(json.dumps({"n": number, "filler": "x" * 20}))
    spool.seal()
    kept = [json.loads(line)["n"] for path in spool.pending for line in read_segment(path)]
    assert kept == list(range(spool.dropped, 100))
    assert sum(path.stat().st_size for path in spool.pending) <= 1000 + 400
    spool.close()


def test_a_torn_last_line_is_skipped_and_files_are_private(tmp_path: Path) -> None:
    spool = EventSpool(tmp_path / "client", max_bytes=10_000, batch=10)
    spool.append('{"n": 1}')
    spool.close()
    (path,) = (tmp_path / "client").glob("*.ndjson")
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text('{"n": 1}\n{"n": 2, "tor')
    assert read_segment(path) == ['{"n": 1}']


def test_two_processes_do_not_share_a_spool(tmp_path: Path) -> None:
    spool = EventSpool(tmp_path / "client", max_bytes=10_000, batch=10)
    with pytest.raises(SpoolInUseError, match="its own folder"):
        EventSpool(tmp_path / "client", max_bytes=10_000, batch=10)
    spool.close()


def test_no_method_takes_text(tmp_path: Path) -> None:
    client = UsageClient("http://127.0.0.1:9", "key", tmp_path / "client", interval_seconds=None)
    for name in ("shown", "decided", "applied", "undone", "survived", "review"):
        for parameter in inspect.signature(getattr(client, name)).parameters.values():
            assert "str" not in str(parameter.annotation), f"{name}.{parameter.name}"
    with pytest.raises(ValidationError):
        client.shown(uuid4(), lines_suggested_add=1, visible_ms=1, language="CANARY")  # type: ignore[arg-type] # a caller without types
    client._spool.close()
    assert os.listdir(tmp_path / "client") == ["lock"]


def test_a_call_does_not_wait_for_the_network(tmp_path: Path) -> None:
    client = UsageClient("http://127.0.0.1:9", "key", tmp_path / "client", interval_seconds=None)
    started = time.perf_counter()
    show(client, 200)
    assert time.perf_counter() - started < 2
    client._spool.close()
