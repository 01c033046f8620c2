"""Real worker processes, killed, frozen and cut off from Redis: the run still ends once."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from controlplane.core.broker import make_celery, make_send
from controlplane.core.outbox_relay import Relay
from controlplane.core.run_engine.fence import reap_runs
from tests.integration.runs.conftest import Workers
from tests.integration.runs.worker_process import SAGA
from tests.redis_server import RedisServer
from tests.sagas.bench import Bench, wait_until


def lines(folder: Path) -> list[dict[str, object]]:
    log = folder / "log"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def started(folder: Path, step: str) -> int:
    return sum(line["step"] == step for line in lines(folder))


def test_a_run_survives_the_sigkill_of_its_worker_in_the_middle_of_a_step(
    bench: Bench, workers: Workers, tmp_path: Path
):
    run_id = bench.start(SAGA, {"folder": str(tmp_path)})
    first = workers.start()
    wait_until(lambda: started(tmp_path, "slow") == 1, "the slow step runs")
    first.kill()
    first.wait(timeout=10)
    second = workers.start()
    wait_until(lambda: started(tmp_path, "slow") == 2, "the step runs again")
    (tmp_path / "go").touch()
    wait_until(lambda: bench.run(run_id)["state"] == "succeeded", "the run ends")
    steps = bench.steps(run_id)
    assert steps["first"]["attempt"] == 1
    assert steps["slow"]["attempt"] == 2
    assert steps["slow"]["output"] == {"pid": second.pid}
    assert [line["step"] for line in lines(tmp_path)] == ["first", "slow", "slow", "last"]
    assert bench.run(run_id)["fence"] == 2


def test_a_frozen_worker_that_wakes_up_finds_itself_locked_out(
    bench: Bench, workers: Workers, tmp_path: Path
):
    run_id = bench.start(SAGA, {"folder": str(tmp_path)})
    zombie = workers.start(lease=3.0)
    wait_until(lambda: started(tmp_path, "slow") == 1, "the slow step runs")
    zombie.send_signal(signal.SIGSTOP)
    wait_until(lambda: len(reap_runs(bench.scheduler)) == 1, "the reaper frees the run")
    workers.start(lease=10.0)
    wait_until(lambda: started(tmp_path, "slow") == 2, "another worker runs the step")
    zombie.send_signal(signal.SIGCONT)
    (tmp_path / "go").touch()
    wait_until(lambda: bench.run(run_id)["state"] == "succeeded", "the run ends")
    wait_until(lambda: "run.left" in workers.logs(), "the zombie lets go of the run")
    assert started(tmp_path, "last") == 1
    assert bench.run(run_id)["fence"] == 2


def test_a_worker_asked_to_stop_hands_its_run_over_at_once(
    bench: Bench, workers: Workers, tmp_path: Path
):
    run_id = bench.start(SAGA, {"folder": str(tmp_path)})
    first = workers.start(lease=60.0)
    wait_until(lambda: started(tmp_path, "slow") == 1, "the slow step runs")
    first.terminate()
    assert first.wait(timeout=15) == 0
    assert bench.run(run_id)["lease_until"] is None
    (tmp_path / "go").touch()
    workers.start(lease=60.0)
    wait_until(lambda: bench.run(run_id)["state"] == "succeeded", "the run ends")


def test_a_run_survives_the_loss_of_every_database_connection(
    bench: Bench, workers: Workers, tmp_path: Path
):
    run_id = bench.start(SAGA, {"folder": str(tmp_path)})
    workers.start(lease=2.0)
    wait_until(lambda: started(tmp_path, "slow") == 1, "the slow step runs")
    cut = "SELECT count(pg_terminate_backend(pid)) AS n FROM pg_stat_activity WHERE usename = %s"
    for _ in range(3):
        wait_until(lambda: bench.rows(cut, "ringfence_worker")[0]["n"] > 0, "it connects again")
    (tmp_path / "go").touch()
    wait_until(lambda: bench.run(run_id)["state"] == "succeeded", "the run ends", 30)
    assert started(tmp_path, "last") == 1
    assert [event["seq"] for event in bench.events(run_id)] == list(
        range(1, bench.run(run_id)["last_seq"] + 1)
    )


def test_a_message_wakes_a_worker_that_polls_seldom(bench: Bench, workers: Workers, tmp_path: Path):
    (tmp_path / "go").touch()
    workers.start(poll=600.0)
    wait_until(lambda: "worker.started" in workers.logs(), "the worker is up")
    first = bench.start(SAGA, {"folder": str(tmp_path)})
    wait_until(lambda: bench.run(first)["state"] == "succeeded", "the message arrives")
    wait_until(
        lambda: bench.rows("SELECT count(*) AS n FROM outbox WHERE done_at IS NULL")[0]["n"] == 0,
        "the job is marked as done",
    )


def test_a_flushed_redis_loses_no_run(
    bench: Bench, workers: Workers, redis_server: RedisServer, tmp_path: Path
):
    (tmp_path / "go").touch()
    runs = [bench.start(SAGA, {"folder": str(tmp_path)}) for _ in range(5)]
    relay = Relay(bench.scheduler, make_send(make_celery(redis_server.url)))
    assert relay.relay_once() == 5
    with redis_server.client() as client:
        assert client.llen("ringfence") == 5
        client.flushall()
    workers.start()
    wait_until(lambda: {bench.run(run)["state"] for run in runs} == {"succeeded"}, "all runs end")


def test_a_dead_redis_delays_no_run(
    bench: Bench, workers: Workers, redis_server: RedisServer, tmp_path: Path
):
    redis_server.kill()
    (tmp_path / "go").touch()
    run_id = bench.start(SAGA, {"folder": str(tmp_path)})
    worker = workers.start()
    wait_until(lambda: bench.run(run_id)["state"] == "succeeded", "the run ends")
    worker.terminate()
    assert worker.wait(timeout=20) == 0


def test_messages_flow_again_after_two_restarts_of_redis(
    bench: Bench, workers: Workers, redis_server: RedisServer, tmp_path: Path
):
    (tmp_path / "go").touch()
    workers.start(poll=600.0)
    wait_until(lambda: "worker.started" in workers.logs(), "the worker is up")
    for _ in range(2):
        redis_server.kill()
        redis_server.start()
    run_id = bench.start(SAGA, {"folder": str(tmp_path)})
    wait_until(lambda: bench.run(run_id)["state"] == "succeeded", "the message arrives", 30)
