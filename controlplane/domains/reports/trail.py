"""The customer's CloudTrail as the customer hands it over: check a file, keep it, read it.

Used by the router (hand-over) and by R3 (reading). We cannot read the trail ourselves, by design:
the role has no right to it. A file is kept as it came, by digest. What cannot be read whole is
refused, so that a cut-off file is noticed at once and not in a report.
Source: AWS CloudTrail user guide, "CloudTrail log file examples", "Finding your log files".
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.orm import Session

from controlplane.core import audit
from controlplane.core.actor import OpContext
from controlplane.core.errors import ForbiddenError, InvalidRequestError
from controlplane.core.ids import new_id
from controlplane.domains.connections.repository import get_for_boundary
from controlplane.domains.reports import repository
from controlplane.tables.organizations import Boundary
from controlplane.tables.reports import TrailFile
from proof.canonical import bytes_digest

LARGEST_FILE = 6_000_000
"""Packed bytes; CloudTrail itself closes a file at about 50 MB unpacked, long before."""
LARGEST_UNPACKED = 128_000_000
_NAME = re.compile(r"^(\d{12})_CloudTrail_([a-z0-9-]{5,30})_(\d{8}T\d{4})Z_[\w-]{1,64}\.json\.gz$")
_FIX = "hand over the files as they lie in the trail's bucket, unchanged and under their own names"


@dataclass(frozen=True)
class TrailName:
    """What the name of a file says."""

    account: str
    region: str
    delivered_at: datetime


def parse_name(name: str) -> TrailName:
    """Read a file's name. Raises: InvalidRequestError."""
    match = _NAME.match(name)
    if match is None:
        raise InvalidRequestError(
            f"{name!r} is not the name of a CloudTrail file", field="name", fix=_FIX
        )
    try:
        delivered = datetime.strptime(match.group(3), "%Y%m%dT%H%M").replace(tzinfo=UTC)
    except ValueError as error:
        raise InvalidRequestError(f"{name!r} names no moment", field="name", fix=_FIX) from error
    return TrailName(match.group(1), match.group(2), delivered)


def unpack(data: bytes) -> list[dict[str, Any]]:
    """Return the records of a file. Raises: InvalidRequestError for one that is cut or is none."""
    unpacker = zlib.decompressobj(wbits=31)
    try:
        content = unpacker.decompress(data, LARGEST_UNPACKED)
    except zlib.error as error:
        raise _unreadable("it is not gzip, or damaged") from error
    if unpacker.unconsumed_tail:
        raise _unreadable(f"it unpacks to more than {LARGEST_UNPACKED} bytes")
    if not unpacker.eof:
        raise _unreadable("it is cut off before its end")
    try:
        records = json.loads(content)["Records"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _unreadable("it does not hold CloudTrail's JSON") from error
    if not isinstance(records, list) or not all(isinstance(one, dict) for one in records):
        raise _unreadable("it does not hold CloudTrail's JSON")
    return records


def _unreadable(reason: str) -> InvalidRequestError:
    return InvalidRequestError(f"the file cannot be read: {reason}", field="body", fix=_FIX)


def event_time(record: dict[str, Any]) -> datetime:
    """Return when a call was made. Raises: InvalidRequestError."""
    try:
        return datetime.fromisoformat(str(record["eventTime"])).astimezone(UTC)
    except (KeyError, ValueError) as error:
        raise _unreadable("a record has no time") from error


def keep_file(
    session: Session, ctx: OpContext, boundary: Boundary, *, name: str, data: bytes
) -> TrailFile:
    """Keep one file; the same bytes again change nothing.

    Raises: InvalidRequestError for what is not a whole file of this boundary's account.
    """
    if ctx.actor.principal_id is None:
        raise ForbiddenError("only a known identity can hand over a trail")
    said = _checked_name(session, boundary, name, len(data))
    digest = bytes_digest(data)
    known = repository.find_trail_file(session, boundary.id, digest)
    if known is not None:
        return known
    times = sorted(event_time(record) for record in unpack(data))
    row = TrailFile(
        organization_id=boundary.organization_id,
        boundary_id=boundary.id,
        id=new_id(),
        name=name,
        digest=digest,
        size_bytes=len(data),
        account=said.account,
        region=said.region,
        delivered_at=said.delivered_at,
        events=len(times),
        first_event_at=times[0] if times else None,
        last_event_at=times[-1] if times else None,
        uploaded_by=ctx.actor.principal_id,
        data=data,
    )
    session.add(row)
    session.flush()
    audit.append(
        session,
        ctx,
        "trail.uploaded",
        target=f"trail-file/{row.id}",
        boundary_id=boundary.id,
        organization_id=boundary.organization_id,
        detail={"name": name, "digest": digest, "events": row.events},
    )
    return row


def _checked_name(session: Session, boundary: Boundary, name: str, size: int) -> TrailName:
    if not 0 < size <= LARGEST_FILE:
        raise InvalidRequestError(
            f"a file has 1 to {LARGEST_FILE} bytes, this one {size}", field="body", fix=_FIX
        )
    said = parse_name(name)
    account = get_for_boundary(session, boundary.id).account
    if said.account != account:
        raise InvalidRequestError(
            f"this file is of account {said.account}; the boundary's is {account}",
            field="name",
            fix="hand over the trail of the boundary's own account",
        )
    return said


def records_of(
    session: Session, files: list[TrailFile]
) -> Iterator[tuple[TrailFile, dict[str, Any]]]:
    """Yield every record of some files, one unpacked file in memory at a time."""
    for file in files:
        for record in unpack(repository.trail_bytes(session, file)):
            yield file, record
