"""Play one schedule on a cell, to its end, and have the oracle judge it.

Also the people of the light world: they approve plans, mend what the cloud refuses, retry parked
runs and cancel when the schedule says so. `minimal` shrinks a schedule that failed.
"""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError

from controlplane.core.broker import make_celery, make_send
from controlplane.core.errors import ConflictError
from controlplane.core.outbox_relay import Relay
from controlplane.core.run_engine import approve, create_run, request_cancel, retry
from controlplane.core.run_engine.decide import FINAL, PARKED
from tests.faults.light.cell import LEASE_SECONDS, Cell
from tests.faults.light.cloud import Point
from tests.faults.light.inject import Disturbance, inject
from tests.faults.light.oracle import Evidence, Violation, judge, judge_chain
from tests.faults.light.program import program
from tests.faults.light.schedule import Schedule, drop_one
from tests.sagas.bench import seed_tenant

QUIET_SECONDS = 3 * LEASE_SECONDS + 15.0
"""Three leases, the back-off, and what the machine needs: a run that stands still for so long,
with nothing disturbing it, hangs."""
TOTAL_SECONDS = 60.0
TOTAL_SECONDS_PER_RUN = 10.0
"""A run that still moves and has not ended this long after the last fault goes round in circles."""


@dataclass
class LightRun:
    """A run in flight, as the harness follows it."""

    id: UUID
    kind: str
    passed: int = 0
    points: Counter[str] = field(default_factory=Counter)
    order: list[str] = field(default_factory=list)
    mark: object = None
    moved_at: float = field(default_factory=time.monotonic)
    is_over: bool = False
    stalled: str | None = None
    cancel_accepted: bool = False


@dataclass(frozen=True)
class Result:
    """What came of a schedule."""

    schedule: Schedule
    fired: tuple[str, ...]
    violations: tuple[Violation, ...]
    seconds: float
    steps: int
    """Steps that were carried out, undos included."""
    kills: int
    points: dict[str, list[str]]
    """Points that the runs of each kind passed, in order of first passing."""


class Play:
    """One schedule in play."""

    def __init__(self, cell: Cell, schedule: Schedule) -> None:
        self.cell = cell
        self.schedule = schedule
        self.disturbance = Disturbance()
        self.runs: list[LightRun] = []
        self.by_id: dict[str, LightRun] = {}
        self.fired: list[str] = []
        self._open = Counter[tuple[int, str]]()
        """Executors and steps that are at work: (pid, run)."""
        self._waiting = list(schedule.faults)
        self._longest = TOTAL_SECONDS + TOTAL_SECONDS_PER_RUN * len(schedule.kinds)
        self._lock = threading.Lock()

    def run(self) -> Result:
        """Play it."""
        began = time.monotonic()
        self.cell.staff(self.schedule.world, self.schedule.bug)
        self.tenant = seed_tenant(self.cell.urls, f"s{time.monotonic_ns()}")
        self.cell.hook = self._at
        try:
            self._start_all()
            while not self._is_over():
                time.sleep(0.03)
            self._let_zombies_end()
        finally:
            self.cell.hook = lambda point: None
            self.cell.mourn()
            for pair in self.cell.proxies:
                pair[0].disarm()
        violations = self._judge()
        return Result(
            self.schedule, tuple(self.fired), tuple(violations), time.monotonic() - began,
            sum(e.op == "enter" for r in self.runs for e in self.cell.ledger.entries(str(r.id))),
            sum(kind.startswith("F1.kill") for kind in self.fired),
            {r.kind: r.order for r in self.runs},
        )  # fmt: skip

    # -- triggers -----------------------------------------------------------------------------

    def _at(self, point: Point) -> None:
        run = self.by_id.get(point.run)
        if run is None:
            return
        due = []
        with self._lock:
            if point.name in ("claimed", "left"):
                self._open[point.pid, point.run] += 1 if point.name == "claimed" else -1
            name = f"{point.name}:{point.key}" if point.key else point.name
            if point.name not in ("claimed", "left"):
                if name not in run.points:
                    run.order.append(name)
                run.passed += 1
                run.points[name] += 1
            number = self.runs.index(run)
            for fault in list(self._waiting):
                seen = run.passed if fault.point == "*" else run.points[name]
                is_here = fault.point in ("*", name)
                if fault.run == number and is_here and seen == fault.nth:
                    self._waiting.remove(fault)
                    due.append(fault.kind)
        for kind in due:
            self._fire(kind, point, run)

    def _fire(self, kind: str, point: Point, run: LightRun) -> None:
        if kind == "F15.cancel":
            # Not in this thread: the worker that stands here may hold the run's row.
            self.disturbance.lasting(lambda: self._cancel(run))
            self.fired.append(kind)
        elif inject(self.cell, kind, point, self.disturbance):
            self.fired.append(kind)

    def _start_all(self) -> None:
        at_start = [f for f in self._waiting if f.point == "start"]
        if not at_start:
            for kind in self.schedule.kinds:
                self._start(kind)
            return
        # F3.flush-sent: the workers stand still, the messages go out, and are lost.
        pids = list(self.cell.pids.values())
        for pid in pids:
            self.cell.signal(pid, signal.SIGSTOP)
        for kind in self.schedule.kinds:
            self._start(kind)
        app = make_celery(self.cell.redis.url)
        Relay(self.cell.scheduler, make_send(app)).relay_once()
        app.close()
        with self.cell.redis.client() as client:
            client.flushall()
        for pid in pids:
            self.cell.signal(pid, signal.SIGCONT)
        for fault in at_start:
            self._waiting.remove(fault)
            self.fired.append(fault.kind)
        self.disturbance.touch()

    # -- people -------------------------------------------------------------------------------

    def _start(self, kind: str) -> None:
        def create(session: Any) -> UUID:
            return create_run(
                session,
                self.tenant.requester,
                organization_id=self.tenant.organization_id,
                boundary_id=self.tenant.boundary_id,
                # Of no install: one run at a time may change an install (ADR 0032).
                install_id=None,
                kind=kind,
                params={},
            )

        # The ledger must know the run before a worker calls; a worker may be faster than we are.
        with self.cell.lock_calls:
            run = LightRun(self._transact(create), kind)
            self.runs.append(run)
            self.by_id[str(run.id)] = run
            self.cell.ledger.open(str(run.id), kind)

    def _transact(self, action: Callable[[Any], Any]) -> Any:
        """Carry out an action in a transaction of the API; again, when the database was away."""
        for _ in range(100):
            try:
                with self.cell.api.transaction(self.tenant.scope) as session:
                    return action(session)
            except SQLAlchemyError:
                time.sleep(0.1)
        raise AssertionError("the database stays away")

    def _cancel(self, run: LightRun) -> None:
        def cancel(session: Any) -> None:
            request_cancel(session, self.tenant.requester, run.id)

        try:
            self._transact(cancel)
            run.cancel_accepted = True
        except ConflictError:
            pass  # it is ending already

    def _help(self, run: LightRun, row: dict[str, Any]) -> bool:
        """Do what a person does for a parked run; return whether there was something to do."""
        scripted = program(run.kind)
        parks = {s.park for s in scripted.steps}
        state = row["state"]
        ctx, action = self.tenant.requester, retry
        if state == "awaiting-approval":
            ctx, digest = self.tenant.approver, row["plan_digest"]
            self._try(lambda s: approve(s, ctx, run.id, digest))
        elif state in parks or (state == "stuck" and scripted.may_be_stuck):
            self.cell.ledger.mend(str(run.id))
            self._try(lambda s: action(s, ctx, run.id))
        else:
            return False
        self.disturbance.touch()
        return True

    def _try(self, action: Callable[[Any], None]) -> None:
        with suppress(ConflictError):  # a person who cancelled was faster
            self._transact(action)

    # -- the end ------------------------------------------------------------------------------

    def _is_over(self) -> bool:
        rows = self.cell.rows(
            "SELECT id, state, fence, last_seq, plan_digest FROM run WHERE boundary_id = %s",
            self.tenant.boundary_id,
        )
        now = time.monotonic()
        for row in rows:
            run = self.by_id[str(row["id"])]
            if run.is_over:
                continue
            mark = (row["state"], row["fence"], row["last_seq"], run.passed)
            if mark != run.mark:
                run.mark, run.moved_at = mark, now
            if row["state"] in FINAL:
                run.is_over = True
            elif row["state"] in PARKED:
                run.is_over = not self._help(run, row)
            elif not self.disturbance.is_over:
                continue
            elif now - max(run.moved_at, self.disturbance.last) > QUIET_SECONDS:
                run.stalled = f"stood still for {QUIET_SECONDS:.1f} s"
            elif now - self.disturbance.last > self._longest:
                run.stalled = f"went on for {self._longest:.0f} s without an end"
            run.is_over = run.is_over or run.stalled is not None
        return all(run.is_over for run in self.runs) and self.disturbance.is_over

    def _let_zombies_end(self) -> None:
        """Wait until no executor and no step of these runs is at work any more."""

        def is_quiet() -> bool:
            alive = set(self.cell.pids.values()) - set(self.cell.lost)
            with self._lock:
                return not any(count > 0 and pid in alive for (pid, _), count in self._open.items())

        deadline = time.monotonic() + 15
        while not is_quiet() and time.monotonic() < deadline:
            time.sleep(0.01)

    # -- the judgement ------------------------------------------------------------------------

    def _judge(self) -> list[Violation]:
        found = [Violation("I3", "harness", "", error) for error in self.disturbance.errors]
        chain = self._chain()
        boundary = str(self.tenant.boundary_id)
        head = self.cell.rows("SELECT * FROM audit_chain WHERE chain_id = %s", boundary)[0]
        found += judge_chain(boundary, chain, head)
        for run in self.runs:
            found += judge(self._evidence(run, chain))
        if self.schedule.world.is_hinted and not any(r.stalled for r in self.runs):
            found += self._hints_left()
        return found

    def _chain(self) -> list[dict[str, Any]]:
        rows = self.cell.rows(
            "SELECT *, to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US') || '+00:00'"
            " AS at_text FROM audit_event WHERE chain_id = %s ORDER BY seq",
            self.tenant.boundary_id,
        )
        return [
            {
                "seq": row["seq"],
                "chain_id": str(row["chain_id"]),
                "organization_id": str(row["organization_id"]),
                "boundary_id": str(row["boundary_id"]),
                "at": row["at_text"],
                "code": row["code"],
                "actor": row["actor"],
                "request_id": row["request_id"],
                "target": row["target"],
                "detail": row["detail"],
                "prev_hash": row["prev_hash"],
                "hash": row["hash"],
            }
            for row in rows
        ]

    def _evidence(self, run: LightRun, chain: list[dict[str, Any]]) -> Evidence:
        def by_key(table: str) -> dict[str, dict[str, Any]]:
            rows = self.cell.rows(f"SELECT * FROM {table} WHERE run_id = %s", run.id)
            return {row["key"]: row for row in rows}

        return Evidence(
            program=program(run.kind),
            run=self.cell.rows("SELECT * FROM run WHERE id = %s", run.id)[0],
            steps=by_key("step"),
            intents=by_key("light_state"),
            events=self.cell.rows(
                "SELECT seq FROM run_event WHERE run_id = %s ORDER BY seq", run.id
            ),
            audit=[r for r in chain if r["target"] == f"run/{run.id}"],
            entries=self.cell.ledger.entries(str(run.id)),
            live=self.cell.ledger.live(str(run.id)),
            cancel_accepted=run.cancel_accepted,
            stalled=run.stalled,
        )

    def _hints_left(self) -> list[Violation]:
        """I12: every job of these runs is marked as done in the end."""
        ids = [str(run.id) for run in self.runs]
        query = (
            "SELECT id, attempts FROM outbox WHERE done_at IS NULL AND args->>'run_id' = ANY(%s)"
        )
        deadline = time.monotonic() + 10
        while (left := self.cell.rows(query, ids)) and time.monotonic() < deadline:
            time.sleep(0.05)
        return [
            Violation("I12", "queue", "", f"job {row['id']} was sent {row['attempts']} times")
            for row in left
        ]


def play(cell: Cell, schedule: Schedule) -> Result:
    """Play a schedule on a cell."""
    return Play(cell, schedule).run()


def minimal(cell: Cell, failing: Result, tries: int = 2) -> Result:
    """Return the smallest schedule found that still fails, by leaving faults and runs out.

    A smaller one counts as failing when one of `tries` plays violates one of the same invariants.
    """
    wanted = {v.invariant for v in failing.violations}
    best = failing
    shrinks = True
    while shrinks:
        shrinks = False
        for smaller in drop_one(best.schedule):
            for _ in range(tries):
                result = play(cell, smaller)
                if wanted & {v.invariant for v in result.violations}:
                    best, shrinks = result, True
                    break
            if shrinks:
                break
    return best
