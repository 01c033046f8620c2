"""Carry out one fault on a cell.

Called by `play` in the thread that answers the worker which reached the trigger, so that a kill or
a freeze hits exactly there. What takes longer goes on in a thread of its own; `Disturbance` counts
it, because time starts to run for the engine only when nothing disturbs it any more.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable

import redis

from controlplane.core.broker import QUEUE, make_celery
from tests.faults.light.cell import LEASE_SECONDS, Cell
from tests.faults.light.clocks import add_still
from tests.faults.light.cloud import Point
from tests.faults.light.proxy import Direction

LONG = 2 * LEASE_SECONDS
"""How long a freeze or a hole lasts."""
POISON = (b"\x00\xffjunk", b"{}", b'{"body": "!!", "headers": {}, "properties": {}}')


class Disturbance:
    """Counts the faults that are going on and knows when the last one ended."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._going_on = 0
        self.last = time.monotonic()
        self.errors: list[str] = []

    def touch(self) -> None:
        """Something disturbed the engine just now."""
        self.last = time.monotonic()

    def lasting(self, action: Callable[[], None]) -> None:
        """Run an action in a thread and count it until it ends."""
        with self._changed:
            self._going_on += 1

        def run() -> None:
            try:
                action()
            except Exception as error:  # noqa: BLE001 - the harness reports it
                self.errors.append(f"{type(error).__name__}: {error}")
            finally:
                with self._changed:
                    self._going_on -= 1
                    self.last = time.monotonic()
                    self._changed.notify_all()

        threading.Thread(target=run, daemon=True).start()

    @property
    def is_over(self) -> bool:
        """Say whether nothing is going on."""
        return self._going_on == 0


def inject(cell: Cell, kind: str, point: Point, disturbance: Disturbance) -> bool:
    """Let the fault happen to the worker that stands at `point`, or to what it talks to.

    Returns whether it did: of two kills of one worker only the first one hits.
    """
    disturbance.touch()
    return ACTIONS[kind](cell, point, disturbance) is not False


# -- processes ------------------------------------------------------------------------------------


def _kill(cell: Cell, point: Point, _: Disturbance) -> bool:
    return cell.signal(point.pid, signal.SIGKILL)


def _kill_all(cell: Cell, point: Point, _: Disturbance) -> None:
    for pid in list(cell.pids.values()):
        cell.signal(pid, signal.SIGKILL)


def _drain(cell: Cell, point: Point, _: Disturbance) -> bool:
    return cell.signal(point.pid, signal.SIGTERM)


def _freeze(cell: Cell, point: Point, disturbance: Disturbance) -> bool:
    if not cell.signal(point.pid, signal.SIGSTOP):
        return False
    disturbance.lasting(lambda: _thaw(cell, point.pid, is_asleep=False))
    return True


def _freeze_for_good(cell: Cell, point: Point, _: Disturbance) -> bool:
    """Freeze one worker until the runs are over; the other one must carry them on."""
    if cell.lost or not cell.signal(point.pid, signal.SIGSTOP):
        return False
    cell.lost.append(point.pid)
    return True


def _sleep(cell: Cell, point: Point, disturbance: Disturbance) -> bool:
    if not cell.signal(point.pid, signal.SIGSTOP):
        return False
    disturbance.lasting(lambda: _thaw(cell, point.pid, is_asleep=True))
    return True


def _thaw(cell: Cell, pid: int, *, is_asleep: bool) -> None:
    time.sleep(LONG)
    slot = cell.slot_of(pid)
    if slot is None:
        return
    if is_asleep:
        add_still(cell.still_files[slot], LONG)
    cell.signal(pid, signal.SIGCONT)


# -- PostgreSQL -----------------------------------------------------------------------------------


def _restart_postgres(cell: Cell, point: Point, disturbance: Disturbance) -> None:
    def restart() -> None:
        with cell.repairing:
            cell.restart_postgres()

    disturbance.lasting(restart)


def _commit_lost(cell: Cell, point: Point, _: Disturbance) -> None:
    cell.proxies[cell.slot_of(point.pid) or 0][0].arm_commit("before")


def _commit_unknown(cell: Cell, point: Point, _: Disturbance) -> None:
    cell.proxies[cell.slot_of(point.pid) or 0][0].arm_commit("after")


def _cut(cell: Cell, point: Point, _: Disturbance) -> None:
    cell.proxies[cell.slot_of(point.pid) or 0][0].cut()


def _hole(direction: Direction) -> Callable[[Cell, Point, Disturbance], None]:
    def hole(cell: Cell, point: Point, disturbance: Disturbance) -> None:
        proxy = cell.proxies[cell.slot_of(point.pid) or 0][0]
        proxy.swallow(direction)

        def heal() -> None:
            time.sleep(LONG)
            proxy.heal()

        disturbance.lasting(heal)

    return hole


def _hole_for_good(cell: Cell, point: Point, _: Disturbance) -> bool:
    slot = cell.slot_of(point.pid)
    if cell.lost or slot is None:
        return False
    cell.lost.append(point.pid)
    cell.proxies[slot][0].swallow("both")
    return True


# -- Redis ----------------------------------------------------------------------------------------


def _flush(cell: Cell, point: Point, _: Disturbance) -> None:
    with cell.repairing, cell.redis.client() as client:
        client.flushall()


def _crash_redis(times: int) -> Callable[[Cell, Point, Disturbance], None]:
    def crash(cell: Cell, point: Point, disturbance: Disturbance) -> None:
        def again() -> None:
            with cell.repairing:
                for _ in range(times):
                    cell.redis.kill()
                    cell.redis.start()

        disturbance.lasting(again)

    return crash


def _redis_hole(cell: Cell, point: Point, disturbance: Disturbance) -> None:
    for _, proxy in cell.proxies:
        proxy.swallow("both")

    def heal() -> None:
        time.sleep(LONG)
        for _, proxy in cell.proxies:
            proxy.heal()

    disturbance.lasting(heal)


def _duplicate(cell: Cell, point: Point, _: Disturbance) -> None:
    """Send every job that was ever announced four times more."""
    app = make_celery(cell.redis.url)
    with cell.repairing:
        for row in cell.rows("SELECT id, task FROM outbox ORDER BY id DESC LIMIT 20"):
            for _ in range(4):
                app.send_task(row["task"], args=[row["id"]], queue=QUEUE)
    app.close()


def _shuffle(cell: Cell, point: Point, _: Disturbance) -> None:
    with cell.repairing, cell.redis.client() as client:
        messages = _take_all(client)
        if messages:
            client.lpush(QUEUE, *messages)


def _delay(cell: Cell, point: Point, disturbance: Disturbance) -> None:
    with cell.repairing, cell.redis.client() as client:
        messages = _take_all(client)

    def put_back() -> None:
        time.sleep(LEASE_SECONDS)
        with cell.repairing, cell.redis.client() as client:
            if messages:
                client.lpush(QUEUE, *messages)

    disturbance.lasting(put_back)


def _take_all(client: redis.Redis) -> list[bytes]:
    found: list[bytes] = []
    while (message := client.rpop(QUEUE)) is not None:
        found.append(message)  # type: ignore[arg-type]  # bytes without decode_responses
    return found


def _poison(cell: Cell, point: Point, _: Disturbance) -> None:
    app = make_celery(cell.redis.url)
    with cell.repairing, cell.redis.client() as client:
        for task, arguments in (
            ("run.advance", ["not-a-number"]),
            ("run.advance", []),
            ("run.advance", [1, 2, 3]),
            ("run.advance", [2**70]),
            ("no.such-task", [1]),
        ):
            app.send_task(task, args=arguments, queue=QUEUE)
        client.lpush(QUEUE, *POISON, json.dumps({"pid": os.getpid()}).encode())
    app.close()


ACTIONS: dict[str, Callable[[Cell, Point, Disturbance], bool | None]] = {
    "F1.kill": _kill,
    "F1.kill-all": _kill_all,
    "F1.drain": _drain,
    "F2.freeze": _freeze,
    "F2.freeze-for-good": _freeze_for_good,
    "F3.flush": _flush,
    "F3.crash": _crash_redis(1),
    "F3.two-restarts": _crash_redis(2),
    "F3.hole": _redis_hole,
    "F4.restart": _restart_postgres,
    "F4.commit-lost": _commit_lost,
    "F4.commit-unknown": _commit_unknown,
    "F10.cut": _cut,
    "F10.hole-out": _hole("out"),
    "F10.hole-in": _hole("in"),
    "F10.hole-for-good": _hole_for_good,
    "F12.sleep": _sleep,
    "F13.duplicate": _duplicate,
    "F13.shuffle": _shuffle,
    "F13.delay": _delay,
    "F13.poison": _poison,
}
