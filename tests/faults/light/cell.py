"""A cell: one PostgreSQL, one Redis, one cloud and a few worker processes, all of them real.

Cells run side by side and share nothing, so that a fault hits one schedule only. A cell lives for
many schedules; each brings its own tenant. Its reaper is the product's, activated in the harness.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psycopg
from psycopg import conninfo
from sqlalchemy.exc import SQLAlchemyError

from controlplane.core.db import Database
from controlplane.core.run_engine.fence import reap_runs
from tests.faults.light.clocks import new_counter
from tests.faults.light.cloud import CloudServer, Point
from tests.faults.light.ledger import Ledger
from tests.faults.light.proxy import Proxy
from tests.faults.light.schedule import World
from tests.faults.light.worker import WorkerConfig
from tests.postgres import ServerProcess, migrated
from tests.redis_server import RedisServer

ROOT = Path(__file__).resolve().parents[3]
LEASE_SECONDS = 1.0
RESEND_SECONDS = 1.5
SELDOM_SECONDS = 30.0
"""How often a worker polls in a world in which only messages bring it to work."""
WORKERS = 2
SLOTS = 4
MIGRATING = threading.Lock()
"""Alembic keeps its context in globals: one migration at a time in a process."""
STATE_SQL = """
CREATE TABLE light_state (
  boundary_id uuid NOT NULL, run_id uuid NOT NULL, key text NOT NULL, phase text NOT NULL,
  generation int NOT NULL, object_id text, PRIMARY KEY (boundary_id, run_id, key));
CREATE TRIGGER fence_guard BEFORE INSERT OR UPDATE ON light_state
  FOR EACH ROW EXECUTE FUNCTION fence_guard();
GRANT SELECT, INSERT, UPDATE ON light_state TO ringfence_worker
"""
"""The fenced state of the light steps, as Pulumi's is for the real ones (ADR 0004)."""


class Nursery:
    """The process that forks workers."""

    def __init__(self, log: Path, ended: Callable[[int, int], None]) -> None:
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.light.nursery"],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=out,
            )
        self._ended = ended
        self._started: list[int] = []
        self._changed = threading.Condition()
        self._asking = threading.Lock()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def start(self, config: WorkerConfig, log: Path) -> int:
        """Fork a worker and return its pid."""
        assert self._process.stdin is not None
        with self._asking, self._changed:
            order = json.dumps({**asdict(config), "log": str(log)})
            self._process.stdin.write(order.encode() + b"\n")
            self._process.stdin.flush()
            assert self._changed.wait_for(lambda: bool(self._started), 60), "no worker was forked"
            return self._started.pop()

    def close(self) -> None:
        """End it and its workers."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=20)
        self._reader.join()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as said:
            for line in said:
                message = json.loads(line)
                if "started" in message:
                    with self._changed:
                        self._started.append(message["started"])
                        self._changed.notify_all()
                else:
                    ended = (message["ended"], message["status"])
                    threading.Thread(target=self._ended, args=ended, daemon=True).start()


class Cell:
    """The parts of a cell, and what a fault may do to them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.postgres = ServerProcess(crash_safe=True)
        # PostgreSQL is told to end when the thread that started it does; this one stays.
        self._keeper = ThreadPoolExecutor(1)
        server = self._keeper.submit(self.postgres.start).result()
        with MIGRATING:
            self.urls = migrated(server)
        with psycopg.connect(self.urls.admin) as connection:
            connection.execute(STATE_SQL)
        self.redis = RedisServer()
        self.redis.start()
        self.ledger = Ledger()
        self.hook: Callable[[Point], None] = lambda point: None
        self.cloud = CloudServer(self.ledger, lambda point: self.hook(point))
        self.proxies = [(Proxy(self.postgres.port), Proxy(self.redis.port)) for _ in range(WORKERS)]
        self.still_files = [folder / f"still-{slot}" for slot in range(WORKERS)]
        self.api = Database.connect(self.urls.api, pool_size=4)
        self.scheduler = Database.connect(self.urls.scheduler, pool_size=1)
        self._reader: psycopg.Connection[dict[str, Any]] | None = None
        self._reading = threading.Lock()
        self.lock = threading.Lock()
        self.lock_calls = self.cloud.gate
        self.repairing = threading.Lock()
        """Held by whoever does something to PostgreSQL or Redis: one at a time."""
        self.pids: dict[int, int] = {}
        """Slot of a worker -> its process."""
        self.lost: list[int] = []
        """Workers that a fault took away for as long as the runs last."""
        self._wanted: tuple[World, str | None] | None = None
        self._starts = 0
        self._nursery = Nursery(folder / "nursery.log", self._restart)
        self._closing = threading.Event()
        self._reaper = threading.Thread(target=self._reap, daemon=True)
        self._reaper.start()

    # -- workers ------------------------------------------------------------------------------

    def staff(self, world: World, bug: str | None) -> None:
        """Have two workers of that world, the present ones if they fit."""
        with self.lock:
            if self._wanted == (world, bug) and len(self.pids) == WORKERS:
                return
            self._wanted = None
            old = dict(self.pids)
        for pid in old.values():
            self.signal(pid, signal.SIGKILL)
        self.wait(lambda: not self.pids, "the old workers end")
        with self.lock:
            self._wanted = (world, bug)
            for slot in range(WORKERS):
                self._start(slot)

    def _start(self, slot: int) -> None:
        assert self._wanted is not None
        world, bug = self._wanted
        database_url, redis_url = self.urls.worker, self.redis.url
        if world.is_proxied:
            postgres, redis = self.proxies[slot]
            database_url = database_url.replace(f":{self.postgres.port}/", f":{postgres.port}/")
            redis_url = redis_url.replace(f":{self.redis.port}/", f":{redis.port}/")
        new_counter(self.still_files[slot])
        self._starts += 1
        config = WorkerConfig(
            database_url=database_url,
            redis_url=redis_url,
            cloud_port=self.cloud.port,
            name=f"w{slot}-{self._starts}",
            lease=LEASE_SECONDS,
            poll=SELDOM_SECONDS if world.is_hinted else 0.2,
            resend=RESEND_SECONDS if world.is_hinted else 120.0,
            slots=SLOTS,
            bug=bug,
            still_file=str(self.still_files[slot]) if world.is_skewed else None,
            wall_skew=3600.0 * (2 * slot - 1) / 2 if world.is_skewed else 0.0,
        )
        self.pids[slot] = self._nursery.start(config, self.folder / f"worker-{slot}.log")

    def _restart(self, pid: int, status: int) -> None:
        """A worker ended: its place is taken at once, as by a supervisor."""
        with self.lock:
            slot = next((s for s, p in self.pids.items() if p == pid), None)
            if slot is None:
                return
            del self.pids[slot]
            if self._wanted is not None and not self._closing.is_set():
                self._start(slot)

    def mourn(self) -> None:
        """End the workers that a fault took away; their places are taken."""
        for pid in self.lost:
            self.signal(pid, signal.SIGKILL)
            self.wait(lambda pid=pid: self.slot_of(pid) is None, "a lost worker ends")  # type: ignore[misc]  # a lambda with a default
        self.lost.clear()
        for pair in self.proxies:
            for proxy in pair:
                proxy.heal()

    def slot_of(self, pid: int) -> int | None:
        """Return the place of a worker, or None when it has ended."""
        with self.lock:
            return next((s for s, p in self.pids.items() if p == pid), None)

    def signal(self, pid: int, number: signal.Signals) -> bool:
        """Send a signal to a worker of ours that still runs; wait until a stop has set in."""
        if self.slot_of(pid) is None:
            return False
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return False
        if number == signal.SIGSTOP:
            self.wait(lambda: _state_of(pid) in ("T", "Z", ""), "the worker stops")
        return True

    def logs(self) -> str:
        """Return what the workers wrote."""
        return "\n".join(p.read_text() for p in sorted(self.folder.glob("worker-*.log")))

    def restart_postgres(self) -> None:
        """Let PostgreSQL crash and recover."""
        self.postgres.crash()
        self._keeper.submit(self.postgres.restart).result()

    # -- reading ------------------------------------------------------------------------------

    def rows(self, query: str, *args: Any) -> list[dict[str, Any]]:
        """Read rows past all walls; waits for a database that is being restarted.

        On a connection that is kept: a new one at every look was a fifth of a schedule's cost.
        """
        deadline = time.monotonic() + 30
        while True:
            with self._reading:
                try:
                    if self._reader is None:
                        url = conninfo.make_conninfo(self.urls.admin, connect_timeout=5)
                        self._reader = psycopg.connect(
                            url, autocommit=True, row_factory=psycopg.rows.dict_row
                        )
                    return self._reader.execute(query, args).fetchall()  # type: ignore[arg-type]  # built here
                except psycopg.OperationalError:
                    self._end_reader()
                    if time.monotonic() > deadline:
                        raise
            time.sleep(0.05)

    def _end_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    @staticmethod
    def wait(condition: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
        """Poll until the condition holds. Raises: AssertionError."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
            time.sleep(0.005)

    def close(self) -> None:
        """End every part."""
        self._closing.set()
        self._nursery.close()
        self._reaper.join()
        self.cloud.close()
        for pair in self.proxies:
            for proxy in pair:
                proxy.close()
        self._end_reader()
        self.api.close()
        self.scheduler.close()
        self.redis.stop()
        self.postgres.stop()
        self._keeper.shutdown()

    def _reap(self) -> None:
        while not self._closing.wait(0.3):
            try:
                reap_runs(self.scheduler)
            except SQLAlchemyError:
                continue  # the database is being restarted


def _state_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
