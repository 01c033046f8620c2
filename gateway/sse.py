"""Read usage out of an engine's stream without changing what the caller sees.

Used by the relay for each streamed answer. Separate because it is the only code that looks into an
answer, and it keeps counts only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

DONE = b"data: [DONE]"
MAX_EVENT = 4 * 2**20


class BrokenStreamError(ValueError):
    """The engine sent something that is not a stream of events."""


@dataclass
class Usage:
    """Token counts of one answer."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    reasoning_tokens: int = 0
    reported: bool = False

    def take(self, usage: Any) -> None:
        """Take the engine's own figures. Raises: BrokenStreamError when they make no sense."""
        try:
            prompt = usage.get("prompt_tokens_details") or {}
            completion = usage.get("completion_tokens_details") or {}
            counts = (
                int(usage["prompt_tokens"]),
                int(usage["completion_tokens"]),
                int(prompt.get("cached_tokens") or 0),
                int(completion.get("reasoning_tokens") or 0),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise BrokenStreamError("usage is not an OpenAI usage object") from error
        if min(counts) < 0:
            raise BrokenStreamError("usage holds a negative count")
        self.input_tokens, self.output_tokens = counts[0], counts[1]
        self.cache_read_tokens, self.reasoning_tokens = counts[2], counts[3]
        self.reported = True


class EventSplitter:
    """Cut a stream of bytes into whole server-sent events, each with its blank line."""

    def __init__(self) -> None:
        self._pending = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the events that are complete now. Raises: BrokenStreamError past 4 MiB."""
        self._pending += chunk
        if b"\r" in self._pending:
            self._pending = self._pending.replace(b"\r\n", b"\n")
        *events, self._pending = self._pending.split(b"\n\n")
        if len(self._pending) > MAX_EVENT:
            raise BrokenStreamError("an event is larger than 4 MiB")
        return [event + b"\n\n" for event in events if event]


class StreamMeter:
    """Watch one stream: usage, whether it ended well, and what the caller should not get."""

    def __init__(self, *, pass_usage: bool) -> None:
        self.usage = Usage()
        self.done = False
        self.failed = False
        """The engine sent an error event."""
        self._pass_usage = pass_usage
        self._chunks = 0

    def see(self, event: bytes) -> bool:
        """Take one event into account; return whether the caller gets it now.

        The end mark is not passed on: the relay writes it once the usage is on disk.
        """
        if event.startswith(DONE):
            self.done = True
            return False
        if not event.startswith(b"data:"):
            if event.startswith(b"error:"):
                self.failed = True
                return False
            return True
        if b'"content":"' in event or b'"content": "' in event:
            self._chunks += 1
        # Most events are one token without usage: do not parse them. Inside a JSON string the
        # closing quote is escaped, so an answer that speaks of "usage" does not look like this.
        if b'"usage"' not in event and b'"error"' not in event:
            return True
        return self._see_parsed(event)

    def counted(self) -> Usage:
        """Return the engine's figures, or what we counted when it did not get to report."""
        if not self.usage.reported:
            self.usage.output_tokens = self._chunks
        return self.usage

    def _see_parsed(self, event: bytes) -> bool:
        try:
            body = orjson.loads(event[len(b"data:") :])
        except orjson.JSONDecodeError as error:
            raise BrokenStreamError("an event is not JSON") from error
        if not isinstance(body, dict):
            raise BrokenStreamError("an event is not an object")
        if "error" in body:
            self.failed = True
            return False
        if body.get("usage") is None:
            return True
        self.usage.take(body["usage"])
        return self._pass_usage or bool(body.get("choices"))
