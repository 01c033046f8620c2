"""The scheduler's loops on a real database: one leader, grants that end, access that closes."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

import pytest

from controlplane.adapters.aws.closing import PowerOff
from controlplane.adapters.aws.sessions import Credentials, ProbeResult, RoleTarget
from controlplane.core.clock import now
from controlplane.core.outbox_relay import Relay, RelaySettings, mark_done
from controlplane.reconcilers import access_end
from controlplane.reconcilers.grants import CLOSE_PARKED, WATCH, GrantWatch, ParkedAccess
from controlplane.reconcilers.leases import LeaseReaper
from controlplane.scheduler import Scheduler
from tests.integration.runs.worker_process import SAGA
from tests.sagas.bench import Bench, wait_until
from tests.sagas.stage import seed


@dataclass
class Role:
    """The customer's role, and whether it can be assumed."""

    is_open: bool = True
    has_power: bool = True

    def assume(self, target: RoleTarget, *, run: str, person: str) -> Credentials:
        return Credentials("AKIA", "s")

    def probe(self, role_arn: str, external_id: str | None, *, region: str) -> ProbeResult:
        assert role_arn.endswith("-g1")
        return ProbeResult(self.is_open, None if self.is_open else "AccessDenied", now())

    def account(self, target: RoleTarget, source: Any) -> Any:
        return source()

    def power_off(self, account: Any) -> PowerOff:
        self.has_power = False
        return PowerOff(now(), None)  # type: ignore[arg-type]  # the caller reads no proof


@pytest.fixture
def granted(bench: Bench) -> Bench:
    """A bench whose boundary has an active grant."""
    seed(bench)
    return bench


def grant(bench: Bench) -> dict[str, Any]:
    return bench.rows("SELECT * FROM access_grant")[0]


def open_jobs(bench: Bench, task: str) -> list[dict[str, Any]]:
    return bench.rows("SELECT * FROM outbox WHERE task = %s AND done_at IS NULL", task)


def codes(bench: Bench) -> list[str]:
    return [row["code"] for row in bench.rows("SELECT code FROM audit_event ORDER BY seq")]


class Counter:
    """A reconciler that counts its rounds."""

    name = "counter"

    def __init__(self) -> None:
        self.rounds = 0

    def activate(self) -> dict[str, Any]:
        self.rounds += 1
        return {}


def test_one_scheduler_leads_and_the_other_takes_over(bench: Bench) -> None:
    counters = [Counter(), Counter()]
    schedulers = [Scheduler(bench.urls.scheduler, [(counter, 0.05)]) for counter in counters]
    threads = [threading.Thread(target=scheduler.run) for scheduler in schedulers]
    threads[0].start()
    wait_until(lambda: counters[0].rounds > 2, "the first one leads")
    threads[1].start()
    began = counters[0].rounds
    wait_until(lambda: counters[0].rounds > began + 5, "the first one goes on")
    assert counters[1].rounds == 0
    schedulers[0].stop()
    wait_until(lambda: counters[1].rounds > 2, "the second one takes over")
    schedulers[1].stop()
    for thread in threads:
        thread.join(10)


def test_a_failing_loop_does_not_stop_the_others(bench: Bench) -> None:
    class Broken(Counter):
        def activate(self) -> dict[str, Any]:
            raise RuntimeError("broken")

    counter = Counter()
    scheduler = Scheduler(bench.urls.scheduler, [(Broken(), 0.05), (counter, 0.05)])
    thread = threading.Thread(target=scheduler.run)
    thread.start()
    wait_until(lambda: counter.rounds > 3, "the other loop goes on")
    scheduler.stop()
    thread.join(10)


def test_the_reaper_is_a_reconciler(bench: Bench) -> None:
    run_id = bench.start(SAGA, {"folder": "/nowhere"})
    bench.claim(run_id)
    assert LeaseReaper(bench.scheduler).activate() == {"freed": [], "resumed": []}
    bench.change("UPDATE run SET lease_until = now() - interval '1 second'")
    assert LeaseReaper(bench.scheduler).activate() == {"freed": [str(run_id)], "resumed": []}


def test_a_grant_whose_time_has_passed_expires_with_an_audit_record(granted: Bench) -> None:
    granted.change("UPDATE access_grant SET grant_until = now() - interval '1 second'")
    done = GrantWatch(granted.scheduler).activate()
    assert done["expired"] == [str(grant(granted)["id"])]
    assert grant(granted)["state"] == "expired"
    assert codes(granted)[-1] == "grant.expired"


def test_an_open_grant_is_watched_by_one_job_at_a_time(granted: Bench) -> None:
    watch = GrantWatch(granted.scheduler)
    assert len(watch.activate()["watched"]) == 1
    assert watch.activate()["watched"] == []
    mark_done(granted.worker, open_jobs(granted, WATCH)[0]["id"])
    assert len(watch.activate()["watched"]) == 1


def test_a_run_at_work_watches_its_own_grant(granted: Bench) -> None:
    granted.start(SAGA, {"folder": "/nowhere"})
    assert GrantWatch(granted.scheduler).activate()["watched"] == []


def test_the_customers_kill_switch_is_seen_and_recorded(granted: Bench) -> None:
    GrantWatch(granted.scheduler).activate()
    ids = open_jobs(granted, WATCH)[0]["args"]
    role = Role()
    access_end.watch_grant(granted.worker, role, **ids)
    assert grant(granted)["state"] == "active"
    role.is_open = False
    access_end.watch_grant(granted.worker, role, **ids)
    access_end.watch_grant(granted.worker, role, **ids)
    assert (grant(granted)["state"], grant(granted)["closed_by"]) == ("closed", "customer")
    assert codes(granted).count("grant.closed") == 1


def test_a_run_that_waits_too_long_loses_its_access(granted: Bench) -> None:
    run_id = granted.start(SAGA, {"folder": "/nowhere"})
    granted.change(
        "UPDATE run SET state = 'awaiting-approval', parked_at = now() - interval '9 minutes'"
    )
    parked = ParkedAccess(granted.scheduler, 600)
    assert parked.activate() == {"closing": []}
    granted.change("UPDATE run SET parked_at = now() - interval '11 minutes'")
    assert parked.activate() == {"closing": [str(run_id)]}
    role = Role()
    ids = open_jobs(granted, CLOSE_PARKED)[0]["args"]
    access_end.close_parked(granted.worker, role, role, **ids)  # type: ignore[arg-type]  # the part of a cloud that is used
    assert not role.has_power
    assert grant(granted)["state"] == "closing"
    assert parked.activate() == {"closing": []}


def test_a_job_that_is_not_done_is_sent_again_and_a_done_one_is_not(bench: Bench) -> None:
    bench.start(SAGA, {"folder": "/nowhere"})
    sent: list[int] = []
    relay = Relay(
        bench.scheduler, lambda task, job: sent.append(job), RelaySettings(resend_seconds=0.2)
    )
    assert relay.relay_once() == 1
    assert relay.relay_once() == 0
    began = time.monotonic()
    wait_until(lambda: time.monotonic() - began > 0.3, "the time to send again comes")
    assert relay.relay_once() == 1
    assert sent == [sent[0]] * 2
    mark_done(bench.worker, sent[0])
    began = time.monotonic()
    wait_until(lambda: time.monotonic() - began > 0.3, "another such time comes")
    assert relay.relay_once() == 0
