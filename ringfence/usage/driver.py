"""Carry out a planned day: real requests at the gateway, real reports of what became of them.

Used by `ringfence usage replay`. Separate from the plan, which is pure. Times are those of the run:
a gateway sets a request's time itself, and a report must not be ahead of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from uuid import UUID

import httpx2

from ringfence.usage.client import SYNTHETIC_HEADER, UsageClient
from ringfence.usage.replay import Act, Change
from wire.usage import Decision

PROMPT: Final = "Write a test."
"""The one prompt of all made-up developers."""
WORKERS: Final = 8


class ReplayError(RuntimeError):
    """The gateway does not take the replay; the message says why, `status` what it answered."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Tally:
    """What was sent and what the gateway said."""

    requests: int = 0
    failed: int = 0
    """Requests that were not answered with 200; they are usage, too."""
    reported: int = 0
    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)


class Driver:
    """One run of a plan against one gateway; `keys` are of one or more groups."""

    def __init__(self, url: str, keys: Sequence[str], model: str, spools: Path) -> None:
        self._url, self._keys, self._model, self._spools = url, keys, model, spools
        self._http = httpx2.Client(base_url=url, timeout=120, trust_env=False)
        self._clients: dict[int, UsageClient] = {}
        self._lock = threading.Lock()
        self.tally = Tally()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def check(self) -> None:
        """Ask whether made-up use is taken at all. Raises: ReplayError, httpx2.HTTPError."""
        answer = self._http.post("/usage/v1/events", content="[]", headers=self._headers(0))
        if answer.status_code != 200:
            message = str(answer.json()["error"]["message"])
            raise ReplayError(message, answer.status_code)

    def _key(self, developer: int) -> str:
        return self._keys[developer % len(self._keys)]

    def _headers(self, developer: int) -> dict[str, str]:
        return {
            "Authorization": f"Bearer {self._key(developer)}",
            SYNTHETIC_HEADER: str(developer),
        }

    def run(
        self,
        acts: Sequence[Act],
        speed: float | None,
        progress: Callable[[int], None],
        stop: threading.Event,
    ) -> Tally:
        """Carry the acts out in order; `speed` is made-up seconds per second, None: no waiting."""
        waited = 0.0
        with ThreadPoolExecutor(WORKERS) as pool:
            under_way: list[Future[None]] = []
            for number, act in enumerate(acts):
                if speed is not None and act.second > waited:
                    stop.wait((act.second - waited) / speed)
                    waited = act.second
                if stop.is_set():
                    break
                under_way.append(pool.submit(self._carry_out, act))
                if len(under_way) >= 4 * WORKERS:
                    under_way.pop(0).result()
                progress(number + 1)
            for future in under_way:
                future.result()
        for client in self._clients.values():
            client.close()
            self.tally.accepted += client.settled.accepted
            self.tally.duplicates += client.settled.duplicates
            self.tally.rejected += client.settled.rejected
        return self.tally

    def _client(self, act: Act) -> UsageClient:
        with self._lock:
            if act.developer not in self._clients:
                self._clients[act.developer] = UsageClient(
                    self._url,
                    self._key(act.developer),
                    self._spools / str(act.developer),
                    ide=act.ide,
                    interval_seconds=None,
                    synthetic_person=act.developer,
                )
            return self._clients[act.developer]

    def _carry_out(self, act: Act) -> None:
        answer = self._http.post(
            "/v1/chat/completions",
            json={
                "model": self._model,
                "messages": [{"role": "user", "content": PROMPT}],
                "temperature": 0,
                "max_tokens": 8,
                "stream": True,
            },
            headers={
                **self._headers(act.developer),
                "X-Ringfence-Feature": act.feature.value,
                "X-Ringfence-Language": act.language.value,
                "X-Ringfence-Ide": act.ide.value,
            },
        )
        with self.tally.lock:
            self.tally.requests += 1
            self.tally.failed += answer.status_code != 200
        if act.reports and act.change is not None and answer.status_code == 200:
            client = self._client(act)
            number = _report(client, act, act.change, UUID(answer.headers["x-request-id"]))
            client.flush()
            with self.tally.lock:
                self.tally.reported += number


def _report(client: UsageClient, act: Act, change: Change, request: UUID) -> int:
    """Report what became of a change; return the number of events."""
    client.shown(
        change.id,
        request_id=request,
        lines_suggested_add=change.lines_add,
        lines_suggested_del=change.lines_del,
        files=change.files,
        visible_ms=change.visible_ms,
        feature=act.feature,
        language=act.language,
    )
    number = 1
    if change.decision is not None:
        client.decided(
            change.id,
            change.decision,
            decision_ms=change.visible_ms,
            diff_opened=change.diff_opened,
            lines_accepted=change.lines_accepted,
            feature=act.feature,
            language=act.language,
        )
        number += 1
    if change.apply_mode is not None:
        taken = change.lines_accepted if change.decision is Decision.PARTIAL else change.lines_add
        client.applied(
            change.id,
            apply_mode=change.apply_mode,
            lines_added=taken or 0,
            lines_deleted=change.lines_del,
            files=change.files,
            feature=act.feature,
            language=act.language,
        )
        number += 1
    if change.lines_undone:
        client.undone(
            change.id,
            lines_undone=change.lines_undone,
            after_ms=change.undone_after_ms,
            feature=act.feature,
            language=act.language,
        )
        number += 1
    return number
