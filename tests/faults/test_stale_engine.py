"""A zombie engine: its run has been taken over, it still works, and it must stop by itself."""

from __future__ import annotations

import threading
from uuid import uuid4

import psycopg
import pytest

from controlplane.adapters.pulumi.errors import StaleFenceError
from controlplane.adapters.pulumi.messages import EngineEvent
from tests.integration.adapters.support import Bench, ignore, stack


def test_an_engine_with_a_lower_fence_gets_an_error_and_creates_nothing_more(bench: Bench) -> None:
    bench.state.claim(bench.boundary_id, bench.run_id, 1)
    at_takeover: list[int] = []
    taken = threading.Event()

    def made() -> int:
        names = [bucket["Name"] for bucket in bench.aws("s3").list_buckets()["Buckets"]]
        return sum(name.startswith("zombie-") for name in names)

    def take_over_after_the_third(event: EngineEvent) -> None:
        done = event.event == "resource.done" and event.type == "aws:s3/bucket:Bucket"
        if done and event.urn and event.urn.endswith("::b2") and not taken.is_set():
            bench.state.claim(bench.boundary_id, bench.run_id, 2)
            at_takeover.append(made())
            taken.set()

    with (
        bench.broker() as broker,
        bench.engine().open(bench.run(broker, fence=1)) as session,
        pytest.raises(StaleFenceError),
    ):
        session.up(stack("buckets", count=60, prefix="zombie"), take_over_after_the_third)
    assert taken.is_set()
    # One call may have been on its way when the fence rose; the checkpoint before the next refuses.
    assert made() <= at_takeover[0] + 1
    assert made() < 60


def test_a_stale_worker_cannot_open_an_engine_again(bench: Bench) -> None:
    bench.state.claim(bench.boundary_id, bench.run_id, 5)
    with pytest.raises(StaleFenceError):
        bench.state.claim(bench.boundary_id, bench.run_id, 4)
    with (
        bench.broker() as broker,
        bench.engine().open(bench.run(broker, fence=4)) as session,
        pytest.raises(StaleFenceError),
    ):
        session.up(stack("network", cidr="10.61.0.0/16"), ignore)
    assert bench.vpcs("10.61.0.0/16") == []


def test_an_earlier_run_cannot_take_the_state_back_from_a_later_one(bench: Bench) -> None:
    later = uuid4()
    bench.state.claim(bench.boundary_id, bench.run_id, 7)
    bench.state.claim(bench.boundary_id, later, 1)
    with pytest.raises(StaleFenceError, match="may not take the state"):
        bench.state.claim(bench.boundary_id, bench.run_id, 8)


def test_a_writer_without_a_fence_is_refused_by_the_database(bench: Bench) -> None:
    bench.state.claim(bench.boundary_id, bench.run_id, 1)
    url = bench.state.backend_url(bench.boundary_id, bench.run_id, 1)
    password = bench.state.pgpass_line().strip().rsplit(":", 1)[1]
    with psycopg.connect(url.replace("@", f":{password}@", 1)) as connection:
        connection.execute("SET ringfence.fence = ''")
        with pytest.raises(psycopg.DatabaseError, match="stale fence") as caught:
            connection.execute("INSERT INTO pulumi_state (key, data) VALUES ('x', '{}')")
    assert caught.value.sqlstate == "RF001"
