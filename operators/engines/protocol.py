"""What the operator asks of an engine, whatever program it is.

Implemented per dialect beside this file; used by `engines.prober`. Loading and unloading at run
time is not here yet: adapters are given at start, and a new set is a new revision.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import aiohttp

from wire.resources import ModelInstanceSpec


class EngineError(RuntimeError):
    """An engine did not answer, or not as its dialect says; the message is for people."""


@dataclass(frozen=True)
class MountedAdapter:
    """An adapter given to the engine at start."""

    alias: str
    path: str


@dataclass(frozen=True)
class Completion:
    """One answered completion."""

    model: str
    output_tokens: int
    ttft_ms: float


class EngineDialect(Protocol):
    """How one engine program is configured and asked."""

    def configuration(
        self, spec: ModelInstanceSpec, model_path: str, adapters: tuple[MountedAdapter, ...]
    ) -> dict[str, str]:
        """Return the files of the engine's ConfigMap: name to content."""
        ...

    def command(
        self, spec: ModelInstanceSpec, model_path: str, adapters: tuple[MountedAdapter, ...]
    ) -> list[str]:
        """Return the container's arguments."""
        ...

    def environment(self) -> dict[str, str]:
        """Return the container's environment."""
        ...

    async def healthy(self, session: aiohttp.ClientSession, url: str) -> bool:
        """Return whether the engine serves requests. Raises: EngineError without an answer."""
        ...

    async def served_names(self, session: aiohttp.ClientSession, url: str) -> tuple[str, ...]:
        """Return the names the engine lists, base and adapters. Raises: EngineError."""
        ...

    async def complete(self, session: aiohttp.ClientSession, url: str, model: str) -> Completion:
        """Ask for one short completion. Raises: EngineError when there is no answer."""
        ...
