"""Match what we recorded with what the customer's trail shows, line by line; no I/O.

Used by `vendor_sessions.py`. Every line gets a match status and, where it is not `matched`, the
reason. Pure, so that each case is a line of a table in the tests.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from controlplane.domains.reports.definition import Moments, Row
from controlplane.domains.reports.session_columns import (
    EMPTY,
    MATCHED,
    NO_TRAIL,
    NOT_COMPARED,
    ONLY_OURS,
    ONLY_THEIRS,
)
from controlplane.domains.reports.trail_events import Call, TheirSession, Trail
from controlplane.tables.access import AccessGrant
from controlplane.tables.agents import BundleRow, VerbRow
from controlplane.tables.organizations import CloudConnection
from controlplane.tables.reports import TrailFile, VendorSession
from wire.report import HourCoverage

NEAR = timedelta(seconds=120)
"""How far two clocks may differ where no request id names the call."""
SESSION_LIFE = timedelta(seconds=900)
HOUR = timedelta(hours=1)
DENIED_REASON = (
    "denied: AWS logs a denied cross-account call in the caller's account, not in the one asked for"
)


@dataclass
class BoundaryCase:
    """Both sides of one boundary."""

    boundary: str
    connection: CloudConnection
    people: Mapping[UUID, str]
    """Subjects of those who asked for and decided on grants."""
    grants: Mapping[int, AccessGrant]
    ours: list[VendorSession]
    bundles: list[BundleRow]
    verbs: list[VerbRow]
    files: list[TrailFile]
    trail: Trail

    def matches(self) -> dict[UUID, TheirSession]:
        """Return their session for each of ours that has one; no session is used twice."""
        free = dict(self.trail.sessions)
        found: dict[UUID, TheirSession] = {}
        for ours in self.ours:
            if ours.aws_request_id in free:
                found[ours.id] = free.pop(ours.aws_request_id)
        for ours in self.ours:
            if ours.id in found or ours.outcome != "unknown":
                continue
            near = [theirs for theirs in free.values() if _is_near(ours, theirs)]
            if near:
                best = min(near, key=lambda theirs: abs(theirs.at - ours.asked_at))
                found[ours.id] = free.pop(best.request_id)
        return found

    def files_by_hour(self) -> Counter[datetime]:
        """Return how many files the extract has for each hour; an empty file counts by its name."""
        found: Counter[datetime] = Counter()
        for file in self.files:
            hour = hour_of(file.first_event_at or file.delivered_at)
            while hour <= (file.last_event_at or file.delivered_at):
                found[hour] += 1
                hour += HOUR
        return found


def _is_near(ours: VendorSession, theirs: TheirSession) -> bool:
    return (ours.role_arn, ours.session_name, ours.source_identity) == (
        theirs.role_arn,
        theirs.session_name,
        theirs.source_identity,
    ) and abs(theirs.at - ours.asked_at) <= NEAR


def coverage_of(case: BoundaryCase, moments: Moments) -> Iterator[HourCoverage]:
    """Yield every hour of the span with what the extract holds for it."""
    files = case.files_by_hour()
    events = Counter(map(hour_of, case.trail.times))
    opened = Counter(hour_of(ours.asked_at) for ours in case.ours if ours.outcome == "opened")
    hour = hour_of(moments.start)
    while hour < moments.end:
        yield HourCoverage(
            boundary=case.boundary,
            hour=hour,
            files=files[hour],
            events=events[hour],
            sessions=opened[hour],
        )
        hour += HOUR


def hour_of(moment: datetime) -> datetime:
    """Return the beginning of the hour that a moment is in."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def case_rows(case: BoundaryCase) -> Iterator[Row]:
    """Yield every line of one boundary."""
    found = case.matches()
    covered = case.files_by_hour()
    known_keys = {theirs.access_key for theirs in found.values() if theirs.access_key}
    by_names: dict[tuple[str, str, str], list[VendorSession]] = {}
    for ours in case.ours:
        names = (ours.role_arn, ours.session_name, ours.source_identity)
        by_names.setdefault(names, []).append(ours)
        has_files = covered[hour_of(ours.asked_at)] > 0
        yield _our_row(case, ours, found.get(ours.id), has_files=has_files)
    used = {theirs.request_id for theirs in found.values()}
    for theirs in case.trail.sessions.values():
        if theirs.request_id not in used:
            yield _their_row(case, theirs)
    for call in case.trail.calls.values():
        mine = by_names.get((call.role_arn, call.session_name, call.source_identity), [])
        is_known = call.access_key in known_keys or any(_holds(ours, call) for ours in mine)
        yield _call_row(case, call, is_known=is_known)
    yield from _agent_rows(case)


def _agent_rows(case: BoundaryCase) -> Iterator[Row]:
    """Yield what went through the agent, which CloudTrail cannot show."""
    for bundle in case.bundles:
        yield _row(
            case,
            record="bundle",
            at=_utc(bundle.published_at),
            action=f"published bundle {bundle.sequence}",
            resource=bundle.digest,
            result="signed and countersigned",
            match=NO_TRAIL,
            why="a bundle goes through the agent and needs no cloud access",
        )
    for verb in case.verbs:
        yield _row(
            case,
            record="verb",
            session=str(verb.run_id or ""),
            at=_utc(verb.issued_at),
            action=f"issued the verb {verb.kind}",
            result="answered" if verb.answered_at else "not answered yet",
            match=NO_TRAIL,
            why="a verb goes through the agent, which can only narrow with it",
        )


def _row(case: BoundaryCase, **cells: str) -> Row:
    return {**EMPTY, "person": "(control plane)", "boundary": case.boundary, **cells}


def _under(case: BoundaryCase, role_arn: str) -> Row:
    """Return the grant that a role's name carries: who asked, who approved, why."""
    number = re.search(r"-g(\d+)$", role_arn)
    grant = case.grants.get(int(number.group(1))) if number else None
    if grant is None:
        return {"role": role_arn, "request": "no grant of this number"}
    return {
        "role": role_arn,
        "request": f"grant {grant.number} ({grant.id}): {grant.purpose}",
        "requested_by": case.people.get(grant.requested_by, str(grant.requested_by)),
        "approved_by": case.people.get(grant.decided_by, "") if grant.decided_by else "",
        "ticket": grant.ticket or "",
    }


def _our_row(
    case: BoundaryCase, ours: VendorSession, theirs: TheirSession | None, *, has_files: bool
) -> Row:
    match, why = _judge(ours, theirs, has_files=has_files)
    opened = ours.outcome == "opened" or theirs is not None
    closed = ours.expires_at or (ours.asked_at + SESSION_LIFE if opened else None)
    return _row(
        case,
        person=ours.source_identity,
        record="session" if ours.purpose == "work" else "probe",
        session=ours.session_name,
        external_id_hash=ours.external_id_hash or "none sent",
        at=_utc(ours.asked_at),
        opened=_utc(theirs.at if theirs else ours.asked_at) if opened else "",
        closed=_utc(closed) if closed else "",
        source_ip=theirs.source_ip if theirs else "",
        service="sts",
        action="AssumeRole",
        resource=ours.role_arn,
        result=ours.error_code or {"opened": "done"}.get(ours.outcome, ours.outcome),
        event_id=theirs.event_id if theirs else "",
        data_plane="no",
        match=match,
        why=why,
        **_under(case, ours.role_arn),
    )


def _judge(ours: VendorSession, theirs: TheirSession | None, *, has_files: bool) -> tuple[str, str]:
    """Return the match status of a session of ours; `has_files`: the extract has its hour."""
    if theirs is not None and ours.outcome == "denied":
        return ONLY_THEIRS, "we recorded a denial and the trail shows a session"
    if theirs is not None:
        return MATCHED, ""
    if ours.outcome == "denied":
        return ONLY_OURS, DENIED_REASON
    if not has_files:
        return NOT_COMPARED, "the extract has no file for this hour"
    if ours.outcome == "unknown":
        return ONLY_OURS, "our process ended before AWS answered, and the trail shows no session"
    return ONLY_OURS, "we opened it, and the trail does not show it"


def _their_row(case: BoundaryCase, theirs: TheirSession) -> Row:
    return _row(
        case,
        person=theirs.source_identity or "(no source identity)",
        record="session",
        session=theirs.session_name,
        at=_utc(theirs.at),
        opened=_utc(theirs.at),
        closed=_utc(theirs.at + SESSION_LIFE),
        source_ip=theirs.source_ip,
        service="sts",
        action="AssumeRole",
        resource=theirs.role_arn,
        result="done",
        event_id=theirs.event_id,
        data_plane="no",
        match=ONLY_THEIRS,
        why="the trail shows this session and our record does not know it",
        **_under(case, theirs.role_arn),
    )


def _call_row(case: BoundaryCase, call: Call, *, is_known: bool) -> Row:
    return _row(
        case,
        person=call.source_identity or "(no source identity)",
        record="call",
        session=call.session_name,
        at=_utc(call.at),
        source_ip=call.source_ip,
        service=call.service,
        action=call.action,
        resource=call.resource,
        result=call.result,
        event_id=call.event_id,
        data_plane="yes" if call.is_data_plane else "no",
        match=MATCHED if is_known else ONLY_THEIRS,
        why="" if is_known else "it was made in a session that our record does not know",
        **_under(case, call.role_arn),
    )


def _holds(ours: VendorSession, call: Call) -> bool:
    """Say whether a call fits into a session of ours whose opening is not in the extract."""
    end = (ours.expires_at or ours.asked_at + SESSION_LIFE) + NEAR
    return ours.outcome != "denied" and ours.asked_at - NEAR <= call.at <= end


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
