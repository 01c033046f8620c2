"""Answer one completion request: check it, ask the engine, pass the answer on, note the usage.

Called by `api`. Separate from the HTTP plumbing because the order of its steps is the contract:
entitlement before dispatch, a spool line before dispatch, and the last byte only after the event is
on disk. Nothing of a request or an answer is logged, stored or put into an error.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from gateway import errors
from gateway.errors import ApiError
from gateway.metering import Meter
from gateway.routing import Target
from gateway.spool import Spool
from gateway.sse import DONE, BrokenStreamError, EventSplitter, StreamMeter
from wire.usage import ErrorType

CHAT_FIELDS = frozenset(
    {
        *("model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens"),
        *("temperature", "top_p", "n", "stop", "seed", "presence_penalty", "frequency_penalty"),
        *("logit_bias", "logprobs", "top_logprobs", "response_format", "tools", "tool_choice"),
        *("parallel_tool_calls", "user", "metadata", "store", "reasoning_effort", "verbosity"),
        *("functions", "function_call", "modalities", "prediction", "service_tier"),
        *("prompt_cache_key", "safety_identifier"),
    }
)
"""The documented fields of a chat completion. Anything else could reach around the model's name
(llama.cpp's `lora` picks adapters by number), so it is refused by name."""
MAX_ANSWER = 32 * 2**20
_GONE = (ConnectionResetError, aiohttp.ClientConnectionResetError)


class Relay:
    """What every request needs: the connections to the engines and the spool."""

    def __init__(
        self, spool: Spool, *, connect_seconds: float, retry_seconds: float, idle_seconds: float
    ) -> None:
        self._spool = spool
        self._retry_seconds = retry_seconds
        self._session = aiohttp.ClientSession(
            # Below the 5 s after which vLLM's server closes an idle connection: the one who closes
            # first must be the one who knows whether a request is on its way.
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=4),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=connect_seconds, sock_read=idle_seconds
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )

    async def close(self) -> None:
        """Close the connections to the engines."""
        await self._session.close()

    async def answer(self, request: web.Request, meter: Meter) -> web.StreamResponse:
        """Answer a request whose key is good; every path ends in exactly one usage event."""
        if self._spool.full:
            raise errors.unavailable(
                "usage_backlog", "Usage cannot be recorded at the moment; try again shortly."
            )
        outcome = ErrorType.INTERRUPTED
        try:
            body = await _read_body(request)
            target = self._authorize(meter, body)
            return await self._dispatch(request, meter, target, body)
        except ApiError as refused:
            outcome = refused.usage
            await self._end(meter, outcome)
            return refused.response({"x-request-id": str(meter.id)})
        except _CutError as cut:
            outcome = cut.usage
            return cut.response
        except (asyncio.CancelledError, *_GONE):
            outcome = ErrorType.CLIENT_CANCELLED
            raise
        finally:
            # Shielded, because a caller who leaves cancels this very code.
            await asyncio.shield(self._end(meter, outcome))

    async def _end(self, meter: Meter, error: ErrorType) -> None:
        """Write the event, once; returns when it is on disk."""
        if not meter.ended:
            meter.ended = True
            await self._spool.end(meter.event(error))

    @staticmethod
    def _authorize(meter: Meter, body: Mapping[str, Any]) -> Target:
        """Return the target of the request; the one check of entitlement."""
        target = meter.caller.target(body["model"])
        if target is None:
            raise errors.model_not_found()
        meter.target = target
        meter.stream = body.get("stream") is True
        return target

    async def _dispatch(
        self, request: web.Request, meter: Meter, target: Target, body: dict[str, Any]
    ) -> web.StreamResponse:
        if target.endpoint is None:
            raise errors.not_ready()
        # The engine gets what we parsed, never the caller's bytes: a second `model` key in the
        # same object could mean one thing to us and another to the engine.
        sent = {**body, "model": target.model}
        wants_usage = False
        if meter.stream:
            options = body.get("stream_options") or {}
            wants_usage = options.get("include_usage") is True
            sent["stream_options"] = {"include_usage": True}
        meter.dispatched()
        self._spool.begin(meter.event(ErrorType.INTERRUPTED, ended=False))
        upstream = await self._ask(target.endpoint, orjson.dumps(sent))
        async with upstream:
            if upstream.status != 200:
                raise await _refusal(upstream)
            headers = {"x-served-model": target.model, "x-request-id": str(meter.id)}
            if meter.stream:
                return await self._stream(request, meter, upstream, headers, wants_usage)
            return await self._whole(meter, upstream, headers)

    async def _ask(self, endpoint: str, content: bytes) -> aiohttp.ClientResponse:
        """Return the engine's answer once its headers are there.

        Only a connection that was never made is tried again: nothing was computed for it.
        Raises: ApiError.
        """
        deadline = time.monotonic() + self._retry_seconds
        while True:
            try:
                return await self._session.post(
                    f"{endpoint}/v1/chat/completions",
                    data=content,
                    headers={"Content-Type": "application/json"},
                    allow_redirects=False,
                )
            except aiohttp.ClientConnectorError as error:
                if time.monotonic() >= deadline:
                    raise errors.unreachable() from error
            except aiohttp.ConnectionTimeoutError as error:
                raise errors.unreachable() from error
            except TimeoutError as error:
                raise errors.timeout() from error
            except aiohttp.ClientError as error:
                raise errors.unreachable() from error
            await asyncio.sleep(0.1)

    async def _whole(
        self, meter: Meter, upstream: aiohttp.ClientResponse, headers: dict[str, str]
    ) -> web.Response:
        try:
            content = await upstream.read()
            answer = orjson.loads(content)
            meter.usage.take(answer["usage"])
        except TimeoutError as error:
            raise errors.timeout() from error
        except (
            *(aiohttp.ClientError, orjson.JSONDecodeError, BrokenStreamError, KeyError, TypeError),
        ) as error:
            raise errors.upstream() from error
        meter.first_byte()
        await self._end(meter, ErrorType.NONE)
        return web.Response(body=content, content_type="application/json", headers=headers)

    async def _stream(
        self,
        request: web.Request,
        meter: Meter,
        upstream: aiohttp.ClientResponse,
        headers: dict[str, str],
        wants_usage: bool,
    ) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={
                **headers,
                "Content-Type": "text/event-stream; charset=utf-8",
                "Cache-Control": "no-cache",
            }
        )
        splitter, watched = EventSplitter(), StreamMeter(pass_usage=wants_usage)
        problem: ApiError | None = None
        try:
            async for chunk in upstream.content.iter_any():
                events = splitter.feed(chunk)
                passed = b"".join([event for event in events if watched.see(event)])
                if passed:
                    if not response.prepared:
                        await response.prepare(request)
                    await response.write(passed)
                    meter.first_byte()
                if watched.done or watched.failed:
                    break
            if not watched.done:
                problem = errors.upstream()
        except _GONE:
            raise
        except TimeoutError:
            problem = errors.timeout()
        except (aiohttp.ClientError, BrokenStreamError):
            problem = errors.upstream()
        finally:
            meter.usage = watched.counted()
        if problem is not None:
            raise await _cut(request, response, problem)
        await self._end(meter, ErrorType.NONE)
        if not response.prepared:
            await response.prepare(request)
        # Only now, with the event on disk, is the answer complete.
        await response.write(DONE + b"\n\n")
        await response.write_eof()
        return response


class _CutError(Exception):
    """A stream that failed after its first byte; the caller was told inside the stream."""

    def __init__(self, usage: ErrorType, response: web.StreamResponse) -> None:
        super().__init__(usage)
        self.usage, self.response = usage, response


async def _cut(
    request: web.Request, response: web.StreamResponse, problem: ApiError
) -> ApiError | _CutError:
    """Return what to raise: a plain error before the first byte, an event in the stream after."""
    if not response.prepared:
        return problem
    await response.write(b"data: " + problem.body() + b"\n\n")
    await response.write_eof()
    return _CutError(problem.usage, response)


async def _read_body(request: web.Request) -> dict[str, Any]:
    """Return the request's object, checked as far as the gateway relies on it.

    Raises: ApiError.
    """
    try:
        body = orjson.loads(await request.read())
    except orjson.JSONDecodeError as error:
        raise errors.invalid("The body is not JSON.") from error
    except web.HTTPRequestEntityTooLarge as error:
        raise errors.invalid("The body is larger than 4 MiB.", status=413) from error
    if not isinstance(body, dict):
        raise errors.invalid("The body must be a JSON object.")
    if unknown := sorted(body.keys() - CHAT_FIELDS):
        raise errors.invalid(f"Unsupported field: {unknown[0][:60]}.", unknown[0][:60])
    if not isinstance(body.get("model"), str):
        raise errors.invalid("`model` must be a string.", "model")
    if not isinstance(body.get("stream"), bool | None):
        raise errors.invalid("`stream` must be true or false.", "stream")
    if not isinstance(body.get("stream_options"), dict | None):
        raise errors.invalid("`stream_options` must be an object.", "stream_options")
    return body


async def _refusal(upstream: aiohttp.ClientResponse) -> ApiError:
    """Return the typed error for an engine's answer other than 200."""
    if upstream.status in {400, 413, 422}:
        return errors.invalid(await _engine_message(upstream), status=400)
    if upstream.status in {404, 429, 503}:
        return errors.not_ready()
    if upstream.status == 504:
        return errors.timeout()
    return errors.upstream()


async def _engine_message(upstream: aiohttp.ClientResponse) -> str:
    """Return why the engine refused the request; it goes to the caller who sent it only."""
    try:
        content = await upstream.content.read(64 * 1024)
        message = orjson.loads(content)["error"]["message"]
    except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError, KeyError, TypeError):
        return "The engine refused the request."
    return str(message)[:1000]
