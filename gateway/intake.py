"""`POST /usage/v1/events`: take what clients report of changes, as far as it fits the schema.

Called by `api`. Separate because of its rule: who reports is known from the key alone, and nothing
of a refused event is repeated, logged or stored; it is only counted.
"""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

import orjson
from aiohttp import web
from psycopg import Error as DatabaseError
from psycopg_pool import PoolTimeout
from pydantic import Field, TypeAdapter, ValidationError

from gateway import errors
from gateway.changes import insert_changes
from gateway.database import Pool
from wire.usage import (
    CLIENT_EVENT,
    MAX_BATCH,
    AnyClientEvent,
    IngestAnswer,
    Origin,
    Rejection,
    RejectReason,
)

MAX_BODY: Final = 512 * 1024
LATEST: Final = timedelta(hours=72)
"""How late an event may come; its day is final after that."""
SKEW: Final = timedelta(minutes=5)
"""How far a client's clock may be ahead of ours."""
_NAME = re.compile(r"^[a-z][a-z0-9_.]{0,39}$")
_BATCH: TypeAdapter[list[AnyClientEvent]] = TypeAdapter(
    Annotated[list[AnyClientEvent], Field(max_length=MAX_BATCH)]
)
_REASONS = {
    "extra_forbidden": RejectReason.UNKNOWN_FIELD,
    "missing": RejectReason.MISSING_FIELD,
    "union_tag_invalid": RejectReason.UNKNOWN_TYPE,
    "union_tag_not_found": RejectReason.UNKNOWN_TYPE,
}


async def read_bounded(request: web.Request) -> bytes:
    """Return the body, as long as it is within this route's own limit. Raises: ApiError."""
    too_large = errors.invalid("The body is larger than 512 KiB.", status=413)
    if (request.content_length or 0) > MAX_BODY:
        raise too_large
    body = bytearray()
    async for chunk in request.content.iter_chunked(64 * 1024):
        body += chunk
        if len(body) > MAX_BODY:
            raise too_large
    return bytes(body)


def parse_batch(body: bytes, now: datetime) -> tuple[list[AnyClientEvent], list[Rejection]]:
    """Return the events that fit and why the others do not. Raises: ApiError for no batch."""
    try:
        # The whole at once is many times faster, and nearly every batch fits.
        numbered = list(enumerate(_BATCH.validate_json(body)))
        rejected: list[Rejection] = []
    except ValidationError:
        numbered, rejected = _one_by_one(body)
    kept = []
    for index, event in numbered:
        if event.time < now - LATEST:
            rejected.append(Rejection(index=index, field="time", reason=RejectReason.TOO_OLD))
        elif event.time > now + SKEW:
            rejected.append(Rejection(index=index, field="time", reason=RejectReason.IN_FUTURE))
        else:
            kept.append(event)
    return kept, sorted(rejected, key=lambda each: each.index)


def _one_by_one(body: bytes) -> tuple[list[tuple[int, AnyClientEvent]], list[Rejection]]:
    try:
        batch = orjson.loads(body)
    except orjson.JSONDecodeError:
        # Without the cause: a parser's message may quote the text.
        raise errors.invalid("The body is not JSON.") from None
    if not isinstance(batch, list):
        raise errors.invalid("The body must be a JSON array of events.")
    if len(batch) > MAX_BATCH:
        raise errors.invalid(f"A batch has at most {MAX_BATCH} events.", status=413)
    numbered, rejected = [], []
    for index, raw in enumerate(batch):
        try:
            numbered.append((index, CLIENT_EVENT.validate_json(orjson.dumps(raw))))
        except ValidationError as error:
            rejected.append(_rejection(index, error))
    return numbered, rejected


def _rejection(index: int, error: ValidationError) -> Rejection:
    """Return the first reason, an unknown field before all others; no value is looked at."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    first = next((e for e in found if e["type"] == "extra_forbidden"), found[0])
    reason = _REASONS.get(first["type"], RejectReason.INVALID_VALUE)
    if reason is RejectReason.UNKNOWN_TYPE:
        return Rejection(index=index, field="type", reason=reason)
    return Rejection(index=index, field=_field(first["loc"]), reason=reason)


def _field(location: tuple[Any, ...]) -> str:
    """Return a path that a schema could have; a name that could be content becomes `?`."""
    parts = [str(part) for part in location[1:]]
    return ".".join(part if _NAME.fullmatch(part) else "?" for part in parts)[:100] or "event"


class Intake:
    """Takes batches; bound to one boundary's database."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def take(self, request: web.Request, origin: Origin) -> web.Response:
        """Store a batch and say, after the commit, what became of it. Raises: ApiError."""
        events, rejected = parse_batch(await read_bounded(request), datetime.now(UTC))
        reasons = Counter(each.reason for each in rejected)
        try:
            added = await insert_changes(self._pool, origin, events, reasons)
        except (DatabaseError, PoolTimeout, OSError):
            message = "Events cannot be stored at the moment; send them again shortly."
            raise errors.unavailable("storage_unavailable", message) from None
        answer = IngestAnswer(
            accepted=added, duplicates=len(events) - added, rejected=tuple(rejected)
        )
        return web.Response(
            body=answer.model_dump_json().encode(),
            status=422 if rejected else 200,
            content_type="application/json",
        )
