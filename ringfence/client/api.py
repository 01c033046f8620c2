"""Calls to the control plane's API, with its errors as one exception.

Used by the command line and by scripts. Shapes are those of docs/reference/openapi.json; this
class adds nothing but the token, the errors and the resuming event stream.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2

from ringfence.client.context import Context, ContextError

TIMEOUT = httpx2.Timeout(30.0, connect=5.0)
STREAM_SECONDS = 60.0
"""Longest silence of an event stream before it is taken up anew; the server pings more often."""
RECONNECT_SECONDS = 0.5
AWAY = frozenset({0, 502, 503, 504})
"""Statuses of an API that is not there now but may come back: a restart, a proxy without it."""
AWAY_SECONDS = 60.0
"""How long a watcher waits for the API to come back."""
FINAL_STATES = frozenset({"succeeded", "failed", "unwound", "cancelled"})
"""States in which no further event comes."""


class ApiError(RuntimeError):
    """The API answered with an error, or could not be reached (`status` 0)."""

    def __init__(self, status: int, code: str, message: str, body: dict[str, Any]) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.body = body
        """The error document: `field`, `fix`, `problems` where the API gives them."""


class WatchTimeoutError(RuntimeError):
    """The run did not end in the time that the caller gave; the run itself goes on."""


def route(*parts: str) -> str:
    """Return the path of a thing below `/v1`. Raises: ApiError for a name that cannot be one."""
    for part in parts:
        if not part.strip(". "):
            raise ApiError(
                400, "bad-name", f"{part!r} is neither a name nor an id", {"fix": "give one"}
            )
    return "/v1/" + "/".join(quote(part, safe=":") for part in parts)


class Api:
    """One person's connection to one control plane."""

    def __init__(self, context: Context) -> None:
        self.context = context
        try:
            self._client = httpx2.Client(
                base_url=context.api_url,
                # Without a token only what is open to anybody can be asked for.
                headers={"Authorization": f"Bearer {context.token}"} if context.token else {},
                timeout=TIMEOUT,
                # No connection outlives its call: nothing is left to close, and a restarted API
                # is never spoken to through a dead one.
                limits=httpx2.Limits(max_keepalive_connections=0),
                trust_env=False,
            )
        except httpx2.InvalidURL as error:
            raise ContextError(f"{context.api_url!r} is not an API address: {error}") from error

    def close(self) -> None:
        """Close the connections; the client cannot be used afterwards."""
        self._client.close()

    def get(self, path: str, **params: Any) -> Any:
        return self._call("GET", path, params=params or None)

    def text(self, path: str, **params: Any) -> str:
        """Return a document that is not JSON, as it is."""
        try:
            answer = self._client.get(path, params=params or None)
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from error
        if not answer.is_success:
            raise _error(answer)
        return answer.text

    def post(self, path: str, body: Any = None) -> Any:
        return self._call("POST", path, json=body if body is not None else {})

    def put(self, path: str, body: Any) -> Any:
        return self._call("PUT", path, json=body)

    def post_gzip(self, path: str, data: bytes, **params: Any) -> Any:
        return self._call(
            "POST",
            path,
            content=data,
            params=params,
            headers={"Content-Type": "application/gzip"},
        )

    def download(self, path: str, target: Path) -> None:
        """Write what a path answers into a file, in little memory. Raises: ApiError, OSError.

        The file appears whole or not at all.
        """
        part = target.with_name(target.name + ".part")
        try:
            with self._client.stream("GET", path) as answer:
                if not answer.is_success:
                    answer.read()
                    raise _error(answer)
                with part.open("wb") as file:
                    for data in answer.iter_bytes():
                        file.write(data)
            part.replace(target)
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from error
        finally:
            part.unlink(missing_ok=True)

    def _call(self, method: str, path: str, **arguments: Any) -> Any:
        try:
            answer = self._client.request(method, path, **arguments)
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from error
        if not answer.is_success:
            raise _error(answer)
        try:
            return answer.json() if answer.content else None
        except ValueError as error:
            raise ApiError(
                answer.status_code,
                "not-the-api",
                f"what answers at {self.context.api_url} is not a control plane",
                {"fix": "correct RINGFENCE_API_URL"},
            ) from error

    def lines(self, path: str, **params: Any) -> Iterator[bytes]:
        """Yield the lines of a document that is too large to hold, as they arrive.

        Raises: ApiError, also when the answer breaks off.
        """
        try:
            with self._client.stream("GET", path, params=params or None) as answer:
                if not answer.is_success:
                    answer.read()
                    raise _error(answer)
                rest = b""
                for chunk in answer.iter_bytes():
                    *whole, rest = (rest + chunk).split(b"\n")
                    yield from whole
                if rest:
                    yield rest
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> ApiError:
        return ApiError(
            0,
            "unreachable",
            f"the control plane at {self.context.api_url} does not answer ({error})",
            {"fix": "look at `ringfence status`, or correct RINGFENCE_API_URL"},
        )

    def run_events(
        self, run_id: str, after: int = 0, timeout: float | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yield a run's events from `after` on until the run ends; resumes when cut off.

        A stream that closes while the run goes on is taken up again after the last event seen, and
        no event is yielded twice. `timeout` in seconds, None for as long as it takes.
        Raises: ApiError when the run is not visible or the API stays away; WatchTimeoutError.
        """
        ends = None if timeout is None else time.monotonic() + timeout
        last, away_since = after, None
        while True:
            try:
                for document in self._stream(run_id, last, ends):
                    away_since = None
                    if int(document["seq"]) > last:
                        last = int(document["seq"])
                        yield document
                if self.get(route("runs", run_id))["state"] in FINAL_STATES:
                    return
            except (httpx2.HTTPError, ApiError) as error:
                if isinstance(error, ApiError) and error.status not in AWAY:
                    raise
                # The run goes on without us; the next request resumes after the last event seen.
                away_since = away_since or time.monotonic()
                if time.monotonic() - away_since > AWAY_SECONDS:
                    raise self._unreachable(error) from error
            if ends is not None and time.monotonic() >= ends:
                raise WatchTimeoutError(f"run {run_id} did not end within {timeout:g} s")
            time.sleep(RECONNECT_SECONDS)

    def _stream(self, run_id: str, after: int, ends: float | None) -> Iterator[dict[str, Any]]:
        """Yield the events of one request; ends early when the time is over."""
        left = STREAM_SECONDS if ends is None else max(0.1, ends - time.monotonic())
        with self._client.stream(
            "GET",
            f"{route('runs', run_id)}/events",
            headers={"Accept": "text/event-stream", "Last-Event-ID": str(after)},
            timeout=httpx2.Timeout(min(STREAM_SECONDS, left), connect=5.0),
        ) as answer:
            if not answer.is_success:
                answer.read()
                raise _error(answer)
            for data in _event_data(answer.iter_lines()):
                if data is not None:
                    yield json.loads(data)
                if ends is not None and time.monotonic() >= ends:
                    return


def _event_data(lines: Iterator[str]) -> Iterator[str | None]:
    """Yield the data of each server-sent event, and None for a comment (the server's ping)."""
    data: list[str] = []
    for line in lines:
        if line == "":
            if data:
                yield "\n".join(data)
            data = []
        elif line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif line.startswith(":"):
            yield None


def _error(answer: httpx2.Response) -> ApiError:
    try:
        body = answer.json()["error"]
    except (ValueError, KeyError, TypeError):
        body = {}
    if not isinstance(body, dict):
        body = {}
    message = body.get("message") or f"{answer.status_code} {answer.text[:300]}"
    return ApiError(answer.status_code, body.get("code", "error"), message, body)
