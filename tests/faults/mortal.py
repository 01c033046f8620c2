"""Workers that die by SIGKILL while they carry a real install, each a little later.

`python -m tests.faults.mortal CONFIG` reads a line of JSON per worker, forks it, and answers with
how it ended; the imports, which take a second, are made once. A worker is the product's executor
on the product's ports. It dies by its own hand at the first of the engine's writes at which none
died before (`boundaries`), or after `seconds`; nothing in it is told beforehand.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import UUID

from controlplane.adapters.pulumi.engine import OnEvent, PulumiSession, StackProgram
from controlplane.adapters.pulumi.messages import EngineEvent, Result
from controlplane.adapters.pulumi.state import StateStore
from controlplane.core import clock
from controlplane.core.db import Database
from controlplane.core.run_engine.changes import Change
from controlplane.core.run_engine.executor import RunExecutor
from controlplane.core.run_engine.facts import RunFacts
from controlplane.core.run_engine.fence import claim_run
from controlplane.core.run_engine.store import Recorded, RunStore
from controlplane.sagas.install_restore import DEFINITION as RESTORE
from tests.faults.install import ENDED, PARKED, SETTINGS, Scene, ports_of, restore_saga, saga
from tests.sandbox_aws.conftest import Boundary, GateProcess

PR_SET_PDEATHSIG = 1
ROOT = Path(__file__).resolve().parents[2]
CHANGES = ("step_started", "step_finished", "undo_started", "undo_finished", "turn_around")
"""What the engine writes of a step. A worker dies before the transaction, in it, and after it."""
CARRIED, NOTHING_TO_CARRY = 0, 3
RESTING = ENDED | PARKED | {"awaiting-approval", "closing"}


class Mortals:
    """The workers of one scene, one after the other."""

    def __init__(self, scene: Scene, root: Path, database_url: str, state_url: str) -> None:
        self._scene = scene
        self._visited = root / "visited"
        self._log = root / "mortal.log"
        config = root / "mortal.json"
        config.write_text(
            json.dumps(
                {
                    "database_url": database_url,
                    "state_url": state_url,
                    "gate_root": str(scene.boundary.gate.root),
                    "endpoint": scene.boundary.gate.endpoint,
                    "boundary": scene.boundary.name,
                    "root": str(root),
                    "run_id": str(scene.run_id),
                    "stacks": [s.key for s in scene.definition.steps if s.key in _STACKS],
                    "kind": scene.definition.kind,
                    "images": dict(scene.ports.settings.images),
                    "visited": str(self._visited),
                }
            )
        )
        config.chmod(0o600)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.mortal", str(config)],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        self.kills = 0
        self.lives: Iterator[dict[str, Any]] = iter(())
        """What each next worker is told; a worker that is told nothing lives."""

    def die_at_every_boundary(
        self,
        steps: Sequence[str] = (),
        moments: Sequence[str] = (),
        effects: Sequence[str] = (),
    ) -> None:
        """Let every worker from now on die at the first boundary at which none died before.

        With `steps`, of the writes only at `moments` of these, and in the midst of `effects`.
        """
        chosen = {"steps": list(steps), "moments": list(moments), "effects": list(effects)}
        life = {"boundaries": True, **chosen}
        self.lives = iter(lambda: life, None)

    def die_at_random(self, seed: int, times: int, longest: float) -> None:
        """Let the next workers die after a while each, at most `longest` seconds."""
        chance = random.Random(seed)
        self.die_after([chance.uniform(0.2, longest) for _ in range(times)])

    def die_after(self, seconds: Sequence[float]) -> None:
        """Let the next workers die after these times, one each."""
        self.lives = iter([{"seconds": each} for each in seconds])

    def visited(self) -> list[str]:
        """Return the boundaries at which a worker died, in order."""
        return self._visited.read_text().split() if self._visited.exists() else []

    def carry(self) -> str:
        """Have workers carry the run on until one lives to see it end or stop."""
        while True:
            status = self._one(next(self.lives, {}))
            state = str(self._scene.bench.run(self._scene.run_id)["state"])
            if status == CARRIED:
                return state
            if status == NOTHING_TO_CARRY:
                # The write after which the last one died brought the run there: its last step's
                # end is the run's, in one statement.
                assert state in RESTING, f"{state}: nobody can carry the run on"
                return state
            assert status == -signal.SIGKILL, f"{status}: {self._log.read_text()[-3000:]}"
            self.kills += 1
            # Time passes: nobody renews the lease of the dead, and the reaper finds it.
            self._scene.bench.change(
                "UPDATE run SET lease_until = now() - interval '1 second' WHERE id = %s"
                " AND lease_until IS NOT NULL",
                self._scene.run_id,
            )

    def _one(self, life: dict[str, Any]) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(life).encode() + b"\n")
        self._process.stdin.flush()
        said = self._process.stdout.readline()
        assert said, f"the nursery ended: {self._log.read_text()[-3000:]}"
        return int(said)

    def close(self) -> None:
        """End the nursery."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(30)


_STACKS = ("foundation", "cluster")


@dataclass
class Death:
    """When a worker is to die."""

    visited: Path
    boundaries: bool = False
    seconds: float | None = None
    steps: tuple[str, ...] = ()
    moments: tuple[str, ...] = ()
    effects: tuple[str, ...] = ()
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def at(self, point: str) -> None:
        """Die here, if no worker died here before."""
        if not self.boundaries:
            return
        with self._lock:
            known = self.visited.read_text().split() if self.visited.exists() else []
            if point not in known:
                self.visited.write_text("\n".join([*known, point]))
                os.kill(os.getpid(), signal.SIGKILL)

    def at_write(self, moment: str, step: str) -> None:
        """Die at a write about a step, if a worker is to die at such."""
        if not self.steps or (step in self.steps and moment in self.moments):
            self.at(f"{moment}:{step}")

    def at_effect(self, point: str) -> None:
        """Die in the midst of an effect, if a worker is to die in this one."""
        if point in self.effects:
            self.at(point)

    def in_time(self) -> None:
        """Die later, wherever the worker then is."""
        if self.seconds is not None:
            timer = threading.Timer(self.seconds, os.kill, (os.getpid(), signal.SIGKILL))
            timer.daemon = True
            timer.start()


def work(config: dict[str, Any], life: dict[str, Any]) -> int:
    """Carry the run as far as it goes, or as life lasts."""
    death = Death(Path(config["visited"]), **life)
    _tap(death)
    if death.effects:
        _tap_effects(death)
    gate = GateProcess(Path(config["gate_root"]), endpoint=config["endpoint"])
    boundary = Boundary(gate, config["boundary"])
    ports = ports_of(boundary, StateStore(config["state_url"]), Path(config["root"]))
    ports = replace(ports, settings=replace(ports.settings, images=config["images"]))
    db = Database.connect(config["database_url"])
    started = clock.elapsed()
    claim = claim_run(db, f"mortal/{os.getpid()}", SETTINGS.lease_seconds, UUID(config["run_id"]))
    if claim is None:
        return NOTHING_TO_CARRY
    death.in_time()
    restores = config["kind"] == RESTORE.kind
    definition = restore_saga() if restores else saga(*config["stacks"])
    RunExecutor(db, definition, claim, ports, SETTINGS, threading.Event(), started).run()
    return CARRIED


def _tap(death: Death) -> None:
    """Stand before, inside and after every change that the engine writes about a step."""
    plain_record, plain_send = RunStore.record, RunStore._send

    def tap(when: str, made: Sequence[Change]) -> None:
        for change in made:
            if change.name in CHANGES:
                death.at_write(f"{when}:{change.name}", change.step or "")

    def send(self: RunStore, on: Any, facts: RunFacts, made: Any, **more: Any) -> dict[str, Any]:
        answer = plain_send(self, on, facts, made, **more)
        tap("inside", made)
        return answer

    def record(self: RunStore, facts: RunFacts, made: Sequence[Change], **more: Any) -> Recorded:
        tap("before", made)
        recorded = plain_record(self, facts, made, **more)
        tap("after", made)
        return recorded

    # A statement that is a transaction is over with its answer: here a transaction holds it.
    RunStore._one_statement = RunStore.announced  # type: ignore[method-assign]  # a tap
    RunStore._send = send  # type: ignore[method-assign]  # a tap
    RunStore.record = record  # type: ignore[method-assign]  # a tap


def _tap_effects(death: Death) -> None:
    """Stand around each change of the engine's record, and in the midst of each apply."""
    put_back, import_state, up = (
        StateStore.put_back, PulumiSession.import_state, PulumiSession.up,
    )  # fmt: skip

    def putting(
        self: StateStore, boundary_id: UUID, run_id: UUID, fence: int, number: int | None
    ) -> tuple[str, ...]:
        put = put_back(self, boundary_id, run_id, fence, number)
        death.at_effect("after:put_back")
        return put

    def importing(self: PulumiSession, stack: str, deployment: dict[str, Any]) -> None:
        death.at_effect(f"before:import:{stack}")
        import_state(self, stack, deployment)
        death.at_effect(f"after:import:{stack}")

    def applying(
        self: PulumiSession, target: StackProgram, on_event: OnEvent, *, refresh: bool = False
    ) -> Result:
        def seen(event: EngineEvent) -> None:
            on_event(event)
            death.at_effect(f"during:up:{target.stack}")

        return up(self, target, seen, refresh=refresh)

    StateStore.put_back = putting  # type: ignore[method-assign]  # a tap
    PulumiSession.import_state = importing  # type: ignore[method-assign]  # a tap
    PulumiSession.up = applying  # type: ignore[method-assign]  # a tap


def main() -> None:
    """Fork a worker per line, and say how each ended."""
    config = json.loads(Path(sys.argv[1]).read_text())
    assert threading.active_count() == 1, "a fork would copy locks that another thread holds"
    while line := sys.stdin.buffer.readline():
        pid = os.fork()
        if pid == 0:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            os.dup2(os.open("/dev/null", os.O_RDWR), 0)
            os.dup2(2, 1)
            status = 1
            try:
                status = work(config, json.loads(line))
            finally:
                if sys.exc_info()[0] is not None:
                    traceback.print_exc()  # nobody above this would say it
                sys.stderr.flush()
                os._exit(status)
        _, ended = os.waitpid(pid, 0)
        sys.stdout.buffer.write(f"{os.waitstatus_to_exitcode(ended)}\n".encode())
        sys.stdout.flush()


if __name__ == "__main__":
    main()
