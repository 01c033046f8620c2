"""Calls to the control plane's API, with its errors as one exception.

Used by the command line and by scripts. Shapes are those of docs/reference/openapi.json; this
class adds nothing but the token, the errors and the resuming event stream.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx2

from ringfence.client.context import Context

TIMEOUT = httpx2.Timeout(30.0, connect=5.0)
STREAM_TIMEOUT = httpx2.Timeout(60.0, connect=5.0)
RECONNECT_SECONDS = 0.5
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


class Api:
    """One person's connection to one control plane."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._client = httpx2.Client(
            base_url=context.api_url,
            headers={"Authorization": f"Bearer {context.token}"},
            timeout=TIMEOUT,
            trust_env=False,
        )

    def get(self, path: str, **params: Any) -> Any:
        return self._call("GET", path, params=params or None)

    def post(self, path: str, body: Any = None) -> Any:
        return self._call("POST", path, json=body if body is not None else {})

    def put(self, path: str, body: Any) -> Any:
        return self._call("PUT", path, json=body)

    def _call(self, method: str, path: str, **arguments: Any) -> Any:
        try:
            answer = self._client.request(method, path, **arguments)
        except httpx2.TransportError as error:
            raise ApiError(
                0,
                "unreachable",
                f"the control plane at {self.context.api_url} does not answer ({error}); "
                "`ringfence status` shows the sandbox's parts",
                {},
            ) from error
        if answer.status_code >= 400:
            raise _error(answer)
        return answer.json() if answer.content else None

    def run_events(self, run_id: str, after: int = 0) -> Iterator[dict[str, Any]]:
        """Yield a run's events from `after` on until the run ends; resumes when cut off.

        A stream that closes while the run goes on is taken up again after the last event seen.
        Raises: ApiError when the run is not visible.
        """
        last = after
        while True:
            headers = {"Accept": "text/event-stream", "Last-Event-ID": str(last)}
            try:
                with self._client.stream(
                    "GET", f"/v1/runs/{run_id}/events", headers=headers, timeout=STREAM_TIMEOUT
                ) as answer:
                    if answer.status_code >= 400:
                        answer.read()
                        raise _error(answer)
                    for data in _event_data(answer.iter_lines()):
                        document = json.loads(data)
                        last = int(document["seq"])
                        yield document
                if self.get(f"/v1/runs/{run_id}")["state"] in FINAL_STATES:
                    return
            except httpx2.TransportError:
                # The run goes on without us; the next request resumes after the last event seen.
                time.sleep(RECONNECT_SECONDS)


def _event_data(lines: Iterator[str]) -> Iterator[str]:
    """Yield the data of each server-sent event; comments and pings carry none."""
    data: list[str] = []
    for line in lines:
        if line == "":
            if data:
                yield "\n".join(data)
            data = []
        elif line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))


def _error(answer: httpx2.Response) -> ApiError:
    try:
        body = answer.json().get("error", {})
    except (ValueError, AttributeError):
        body = {}
    message = body.get("message") or f"{answer.status_code} {answer.text[:300]}"
    return ApiError(answer.status_code, body.get("code", "error"), message, body)
