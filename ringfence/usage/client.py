"""The client of `POST /usage/v1/events`: typed calls, a spool, batches, patience.

Used by plug-ins, scripts and the replay. Separate from the control plane's client: this one speaks
to a boundary's gateway and never waits for the network in a call. Ids are made here, when something
happens, so that sending twice stores once.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from uuid import UUID

import httpx2

from ringfence.usage.spool import EventSpool, read_segment
from wire.usage import (
    MAX_BATCH,
    UNKNOWN,
    AnyClientEvent,
    Applied,
    AppliedEvent,
    ApplyMode,
    Client,
    CommentType,
    Decided,
    DecidedEvent,
    Decision,
    Dimensions,
    Feature,
    Horizon,
    Ide,
    IngestAnswer,
    Language,
    ReviewSuggestion,
    ReviewSuggestionEvent,
    Shown,
    ShownEvent,
    Survival,
    SurvivalEvent,
    Undone,
    UndoneEvent,
    uuid7,
)

SYNTHETIC_HEADER: Final = "X-Ringfence-Synthetic-Person"
FIRST_DELAY: Final = 0.5
LONGEST_DELAY: Final = 60.0
_SETTLED: Final = frozenset({200, 422})
"""Statuses after which every event of the batch is stored or refused for good."""


@dataclass
class Settled:
    """What has become of the events so far."""

    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0
    failures: int = 0
    """Attempts that did not reach a gateway or were not taken; their events wait."""
    last_status: int | None = None


class UsageClient:
    """One reporter of one key. Safe for several threads; close it, or use it as a context.

    With `interval_seconds` a thread sends what has come in; with None only `flush` does.
    """

    def __init__(
        self,
        base_url: str,
        key: str,
        spool_dir: Path,
        *,
        client: Client = Client.RINGFENCE_PYTHON,
        client_version: str = UNKNOWN,
        ide: Ide = Ide.UNKNOWN,
        interval_seconds: float | None = 5.0,
        max_spool_bytes: int = 16 * 2**20,
        synthetic_person: int | None = None,
    ) -> None:
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        if synthetic_person is not None:
            headers[SYNTHETIC_HEADER] = str(synthetic_person)
        self._http = httpx2.Client(base_url=base_url, headers=headers, timeout=30, trust_env=False)
        self._spool = EventSpool(spool_dir, max_spool_bytes, MAX_BATCH)
        self._dimensions = Dimensions(client=client, client_version=client_version, ide=ide)
        self._writing, self._sending = threading.Lock(), threading.Lock()
        self._stop = threading.Event()
        self.settled = Settled()
        self._thread: threading.Thread | None = None
        if interval_seconds is not None:
            self._thread = threading.Thread(
                target=self._send_for_ever, args=(interval_seconds,), daemon=True
            )
            self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def dropped(self) -> int:
        """Events given up because the spool was full."""
        return self._spool.dropped

    def shown(
        self,
        change_id: UUID,
        *,
        lines_suggested_add: int,
        lines_suggested_del: int = 0,
        files: int = 1,
        visible_ms: float,
        request_id: UUID | None = None,
        feature: Feature = Feature.UNKNOWN,
        language: Language = Language.UNKNOWN,
    ) -> UUID:
        """A change was put before a person."""
        data = Shown(
            **self._common(feature, language),
            change_id=change_id,
            request_id=request_id,
            lines_suggested_add=lines_suggested_add,
            lines_suggested_del=lines_suggested_del,
            files=files,
            visible_ms=visible_ms,
        )
        return self._keep(lambda i, t: ShownEvent(id=i, time=t, data=data))

    def decided(
        self,
        change_id: UUID,
        decision: Decision,
        *,
        decision_ms: float,
        reviewed: bool = False,
        diff_opened: bool = False,
        lines_accepted: int | None = None,
        feature: Feature = Feature.UNKNOWN,
        language: Language = Language.UNKNOWN,
    ) -> UUID:
        """A change was decided; `lines_accepted` for `partial` only."""
        data = Decided(
            **self._common(feature, language),
            change_id=change_id,
            decision=decision,
            decision_ms=decision_ms,
            reviewed=reviewed,
            diff_opened=diff_opened,
            lines_accepted=lines_accepted,
        )
        return self._keep(lambda i, t: DecidedEvent(id=i, time=t, data=data))

    def applied(
        self,
        change_id: UUID,
        *,
        apply_mode: ApplyMode,
        lines_added: int,
        lines_deleted: int,
        files: int = 1,
        request_id: UUID | None = None,
        feature: Feature = Feature.UNKNOWN,
        language: Language = Language.UNKNOWN,
    ) -> UUID:
        """A change was written into files."""
        data = Applied(
            **self._common(feature, language),
            change_id=change_id,
            request_id=request_id,
            apply_mode=apply_mode,
            lines_added=lines_added,
            lines_deleted=lines_deleted,
            files=files,
        )
        return self._keep(lambda i, t: AppliedEvent(id=i, time=t, data=data))

    def undone(
        self,
        change_id: UUID,
        *,
        lines_undone: int,
        after_ms: float,
        feature: Feature = Feature.UNKNOWN,
        language: Language = Language.UNKNOWN,
    ) -> UUID:
        """An applied change was taken back."""
        data = Undone(
            **self._common(feature, language),
            change_id=change_id,
            lines_undone=lines_undone,
            after_ms=after_ms,
        )
        return self._keep(lambda i, t: UndoneEvent(id=i, time=t, data=data))

    def survived(
        self,
        horizon: Horizon,
        *,
        unchanged: int,
        modified: int,
        deleted: int,
        language: Language = Language.UNKNOWN,
    ) -> UUID:
        """So many of the lines that were applied were still there."""
        data = Survival(
            **self._common(Feature.UNKNOWN, language),
            horizon=horizon,
            original_ai_loc=unchanged + modified + deleted,
            unchanged_ai_loc=unchanged,
            modified_ai_loc=modified,
            deleted_ai_loc=deleted,
        )
        return self._keep(lambda i, t: SurvivalEvent(id=i, time=t, data=data))

    def review(
        self,
        *,
        suggested: int,
        applied: int,
        comment_type: CommentType = CommentType.UNKNOWN,
        language: Language = Language.UNKNOWN,
    ) -> UUID:
        """A review made suggestions."""
        data = ReviewSuggestion(
            **self._common(Feature.REVIEW, language),
            suggested=suggested,
            applied=applied,
            comment_type=comment_type,
        )
        return self._keep(lambda i, t: ReviewSuggestionEvent(id=i, time=t, data=data))

    def _common(self, feature: Feature, language: Language) -> dict[str, object]:
        return {**self._dimensions.model_dump(), "feature": feature, "language": language}

    def _keep(self, make: Callable[[UUID, datetime], AnyClientEvent]) -> UUID:
        """Write the event down; it is sent later. Return its id."""
        event = make(uuid7(), datetime.now(UTC))
        with self._writing:
            self._spool.append(event.model_dump_json())
        return event.id

    def flush(self) -> bool:
        """Send what is there now; return whether everything was settled."""
        with self._sending:
            with self._writing:
                self._spool.seal()
                pending = self._spool.pending
            return all(self._send(path) for path in pending)

    def _send(self, path: Path) -> bool:
        try:
            events = read_segment(path)
        except FileNotFoundError:
            # It was given up meanwhile, because the spool was full.
            return True
        answer = None
        if events:
            try:
                answer = self._http.post("/usage/v1/events", content="[" + ",".join(events) + "]")
            except httpx2.HTTPError:
                self.settled.failures += 1
                self.settled.last_status = None
                return False
            self.settled.last_status = answer.status_code
            if answer.status_code not in _SETTLED:
                self.settled.failures += 1
                return False
            result = IngestAnswer.model_validate_json(answer.content)
            self.settled.accepted += result.accepted
            self.settled.duplicates += result.duplicates
            self.settled.rejected += len(result.rejected)
        with self._writing:
            self._spool.remove(path)
        return True

    def _send_for_ever(self, interval: float) -> None:
        delay = FIRST_DELAY
        while not self._stop.wait(interval):
            while not self.flush():
                # Full jitter, so that clients do not all come back at the same moment.
                if self._stop.wait(random.uniform(0, delay)):  # noqa: S311 - no secret
                    return
                delay = min(2 * delay, LONGEST_DELAY)
            delay = FIRST_DELAY

    def close(self) -> None:
        """Send once more and close; what could not be sent stays on disk."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self.flush()
        self._spool.close()
        self._http.close()
