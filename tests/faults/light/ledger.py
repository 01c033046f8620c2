"""The cloud of the light programs: an append-only ledger of effects that the engine cannot see.

Kept by the harness and asked by worker processes through `cloud`; judged by `oracle`. It knows
what a cloud knows: objects with tags, client tokens, and sessions that end. It knows no fence: who
calls is written down, and decides nothing. Source: install-engine.md 1, "AWS cannot check fences".
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.faults.light.program import ALWAYS, StepSpec, program

SESSION_SECONDS = 0.4
"""How long a session lasts: the bound of a zombie, 900 s at AWS."""


class RefusedError(Exception):
    """The cloud does not do it; the text is the code of the error."""


@dataclass(frozen=True)
class Entry:
    """One line of the ledger: something that a caller did to the cloud, or tried to."""

    number: int
    at: float
    run: str
    key: str
    op: str
    """`enter`, `leave`, `create`, `repeat` (a creation that its token had done before), `delete`,
    or `denied`."""
    fence: int
    worker: str
    is_undo: bool
    generation: int = 0
    object_id: str = ""


@dataclass
class CloudObject:
    """One object of the cloud."""

    id: str
    run: str
    key: str
    generation: int
    token: str | None
    made_at: float
    visible_at: float
    status: str
    """`ready`, `failed`, or `gone`."""


@dataclass
class RunFile:
    """What the ledger keeps of one run."""

    kind: str
    objects: list[CloudObject] = field(default_factory=list)
    asked: Counter[str] = field(default_factory=Counter)
    """How often each call of each step was made; the scripted faults count with it."""
    heard: dict[int, float] = field(default_factory=dict)
    """When the first call of each fence came."""
    is_mended: bool = False
    """A person had the cloud mended: what was refused for good is done from now on."""


class Ledger:
    """The objects, the sessions and the book of one cell. Times are `time.monotonic()`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: dict[str, RunFile] = {}
        self._sessions: dict[str, float] = {}
        self._entries: list[Entry] = []

    # -- the harness --------------------------------------------------------------------------

    def open(self, run: str, kind: str) -> None:
        """Expect calls for a run."""
        with self._lock:
            self._runs[run] = RunFile(kind)

    def mend(self, run: str) -> None:
        """Have a person mend what the cloud refuses for good, and let parked steps pass."""
        with self._lock:
            self._runs[run].is_mended = True

    def entries(self, run: str) -> list[Entry]:
        """Return the lines of a run, in order."""
        with self._lock:
            return [e for e in self._entries if e.run == run]

    def live(self, run: str) -> list[CloudObject]:
        """Return the objects of a run that exist."""
        with self._lock:
            return [o for o in self._runs[run].objects if o.status != "gone"]

    def progress(self, run: str) -> int:
        """Return a number that grows with every line of a run."""
        with self._lock:
            return sum(self._runs[run].asked.values()) if run in self._runs else 0

    # -- the workers --------------------------------------------------------------------------

    def call(self, request: dict[str, Any]) -> dict[str, Any]:
        """Carry out one call. Raises: RefusedError."""
        with self._lock:
            file = self._runs.get(request["run"])
            if file is None:
                raise RefusedError("no-such-run")
            file.heard.setdefault(request["fence"], time.monotonic())
            spec = program(file.kind).step(request["key"])
            op = str(request["op"])
            file.asked[f"{op}/{spec.key}/{request['undo']}"] += 1
            answer: dict[str, Any] = getattr(self, f"_{op}")(request, file, spec)
            return answer

    def loses_reply(self, request: dict[str, Any]) -> bool:
        """Say whether the answer to this creation is scripted to be lost."""
        with self._lock:
            file = self._runs[request["run"]]
            spec = program(file.kind).step(request["key"])
            return (
                request["op"] == "create"
                and file.asked[f"create/{spec.key}/False"] - max(spec.refusals, 0)
                <= spec.lost_replies
            )

    def _enter(self, request: dict[str, Any], file: RunFile, spec: StepSpec) -> dict[str, Any]:
        self._write("enter", request)
        return {}

    def _leave(self, request: dict[str, Any], file: RunFile, spec: StepSpec) -> dict[str, Any]:
        self._write("leave", request)
        return {}

    def _pass(self, request: dict[str, Any], file: RunFile, spec: StepSpec) -> dict[str, Any]:
        """May a step that parks go on: after a person's word, a closing one when asked again."""
        again = spec.park == "closing" and file.asked[f"pass/{spec.key}/False"] > 1
        return {"may": file.is_mended or again}

    def _settle(self, request: dict[str, Any], file: RunFile, spec: StepSpec) -> dict[str, Any]:
        """How long until every session of earlier fences has ended."""
        if not any(fence < request["fence"] for fence in file.heard):
            return {"seconds": 0.0}
        since = time.monotonic() - file.heard[request["fence"]]
        return {"seconds": max(SESSION_SECONDS - since, 0.0)}

    def _assume(self, request: dict[str, Any], file: RunFile, spec: StepSpec) -> dict[str, Any]:
        session = f"session-{len(self._sessions)}"
        self._sessions[session] = time.monotonic() + SESSION_SECONDS
        return {"session": session}

    def _create(self, request: dict[str, Any], file: RunFile, spec: StepSpec) -> dict[str, Any]:
        self._check_session(request)
        asked = file.asked[f"create/{spec.key}/False"]
        is_refused = spec.refusals == ALWAYS and not file.is_mended
        if is_refused or asked <= spec.refusals:
            raise RefusedError("throttled")
        token = request["token"]
        for known in file.objects:
            if token is not None and known.token == token:
                self._write("repeat", request, known.generation, known.id)
                return _shown(known)  # also a dead one, as clouds do
        now = time.monotonic()
        generation = int(request["generation"])
        made = CloudObject(
            f"{spec.key}-{len(file.objects)}", request["run"], spec.key, generation, token,
            now, now + spec.lag,
            "failed" if spec.is_spoiled and generation == 1 else "ready",
        )  # fmt: skip
        file.objects.append(made)
        self._write("create", request, generation, made.id)
        return _shown(made)

    def _find(self, request: dict[str, Any], file: RunFile, spec: StepSpec) -> dict[str, Any]:
        """Search by tag; what was made a moment ago may not be seen yet."""
        now = time.monotonic()
        found = [
            _shown(o)
            for o in file.objects
            if o.key == spec.key
            and o.generation == request["generation"]
            and o.status != "gone"
            and o.visible_at <= now
        ]
        return {"found": found}

    def _delete(self, request: dict[str, Any], file: RunFile, spec: StepSpec) -> dict[str, Any]:
        self._check_session(request)
        if request["undo"]:
            is_refused = spec.undo_refusals == ALWAYS and not file.is_mended
            if is_refused or file.asked[f"delete/{spec.key}/True"] <= spec.undo_refusals:
                raise RefusedError("dependency-violation")
        for known in file.objects:
            if known.id == request["object"] and known.status != "gone":
                known.status = "gone"
                self._write("delete", request, known.generation, known.id)
                return {"was": "there"}
        return {"was": "absent"}

    def _check_session(self, request: dict[str, Any]) -> None:
        if time.monotonic() > self._sessions[request["session"]]:
            self._write("denied", request)
            raise RefusedError("expired")

    def _write(
        self, op: str, request: dict[str, Any], generation: int = 0, object_id: str = ""
    ) -> None:
        self._entries.append(
            Entry(
                len(self._entries), time.monotonic(), request["run"], request["key"], op,
                request["fence"], request["worker"], request["undo"], generation, object_id,
            )
        )  # fmt: skip


def _shown(item: CloudObject) -> dict[str, Any]:
    return {"id": item.id, "status": item.status, "generation": item.generation}
