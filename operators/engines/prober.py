"""Ask engines how they are, in a bounded pool; results come back as events.

A reconcile worker never waits for an engine: it says what it wants to know (`want`), reads the last
answer (`answer`), and is called again when the answer changes. One slow engine can hold up one
place of the pool, not a worker.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp

from operators.core.cache import Key
from operators.core.metrics import Metrics
from operators.engines.dialects import DIALECTS
from operators.engines.protocol import Completion, EngineError

log = logging.getLogger("operators.engines")

POOL = 8
CALL_SECONDS = 5.0
SMOKE_SECONDS = 60.0
UNREADY_SECONDS = 0.5


@dataclass(frozen=True)
class Question:
    """What a reconcile wants to know about an instance."""

    dialect: str
    revision: str
    urls: tuple[str, ...]
    """One base URL per ready pod of the revision."""
    model: str
    """Name to ask a completion of."""
    expected: tuple[str, ...]
    """Names that must be listed before the completion is worth asking."""
    smoke: bool
    """Whether a completion of this revision is still missing."""


@dataclass(frozen=True)
class Answer:
    """What the engines of one question said."""

    question: Question
    healthy: bool
    served: tuple[str, ...] = ()
    """Names that every pod lists."""
    completion: Completion | None = None
    error: str = ""
    """Why it is not healthy or answered no completion."""


class EngineProber:
    """Holds one question and one answer per instance."""

    def __init__(
        self,
        on_change: Callable[[Key], None],
        metrics: Metrics,
        probe_seconds: float,
        pool: int = POOL,
    ) -> None:
        self._on_change = on_change
        self._metrics = metrics
        self._probe_seconds = probe_seconds
        self._places = asyncio.Semaphore(pool)
        self._questions: dict[Key, Question] = {}
        self._answers: dict[Key, Answer] = {}
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> EngineProber:
        timeout = aiohttp.ClientTimeout(total=CALL_SECONDS)
        # Proxies are never asked, and pods come and go: connections are not kept.
        connector = aiohttp.TCPConnector(limit=POOL * 2, force_close=True)
        self._session = aiohttp.ClientSession(timeout=timeout, connector=connector)
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def want(self, key: Key, question: Question) -> None:
        """Ask from now on; another question than before starts at once."""
        if self._questions.get(key) == question:
            return
        self._questions[key] = question
        self._start(key)

    def forget(self, key: Key) -> None:
        """Stop asking about an instance."""
        self._questions.pop(key, None)
        self._answers.pop(key, None)
        task = self._tasks.pop(key, None)
        if task is not None:
            task.cancel()

    def answer(self, key: Key, revision: str) -> Answer | None:
        """Return the last answer about that revision, or None before there is one."""
        answer = self._answers.get(key)
        return answer if answer is not None and answer.question.revision == revision else None

    def _start(self, key: Key) -> None:
        running = self._tasks.pop(key, None)
        if running is not None:
            running.cancel()
        self._tasks[key] = asyncio.get_running_loop().create_task(self._ask_for_ever(key))

    async def _ask_for_ever(self, key: Key) -> None:
        while True:
            question = self._questions[key]
            async with self._places:
                answer = await self._ask(question, self._answers.get(key))
            self._metrics.count("engine_probe_total", result="ok" if answer.healthy else "error")
            if self._answers.get(key) != answer:
                self._answers[key] = answer
                self._on_change(key)
            settled = answer.healthy and (answer.completion is not None or not question.smoke)
            await asyncio.sleep(self._probe_seconds if settled else UNREADY_SECONDS)

    async def _ask(self, question: Question, before: Answer | None) -> Answer:
        if self._session is None:
            raise RuntimeError("EngineProber is used outside its context")
        engine = DIALECTS[question.dialect]
        served: set[str] | None = None
        try:
            for url in question.urls:
                if not await engine.healthy(self._session, url):
                    return Answer(question, False, error=f"{url}/health does not say ready")
                names = set(await engine.served_names(self._session, url))
                served = names if served is None else served & names
        except EngineError as error:
            return Answer(question, False, error=str(error))
        listed = tuple(sorted(served or ()))
        missing = [name for name in question.expected if name not in listed]
        if missing:
            return Answer(question, False, listed, error=f"does not list {', '.join(missing)}")
        if not question.smoke or not question.urls:
            return Answer(question, True, listed)
        if before is not None and before.question == question and before.completion is not None:
            return Answer(question, True, listed, before.completion)
        return await self._smoke(self._session, question, listed)

    async def _smoke(
        self, session: aiohttp.ClientSession, question: Question, listed: tuple[str, ...]
    ) -> Answer:
        try:
            async with asyncio.timeout(SMOKE_SECONDS):
                completion = await DIALECTS[question.dialect].complete(
                    session, question.urls[0], question.model
                )
        except (EngineError, TimeoutError) as error:
            text = str(error) or f"completion took longer than {SMOKE_SECONDS:g} s"
            return Answer(question, True, listed, error=text)
        return Answer(question, True, listed, completion)
