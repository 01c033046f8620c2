"""What the customer's trail says about our role: sessions opened, and calls made in them.

Used by `vendor_sessions.py`. Reads CloudTrail's records, whose names AWS writes with a small first
letter and whose shape differs by service; whatever is missing is an empty text, never a guess.
Source: AWS CloudTrail user guide, "CloudTrail record contents", "userIdentity element".
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from controlplane.domains.reports.trail import event_time, records_of
from controlplane.tables.reports import TrailFile

_RESOURCE_KEYS = (
    *("arn", "resourcearn", "rolename", "policyarn", "bucketname", "bucket", "keyid", "name"),
    *("clustername", "nodegroupname", "groupid", "vpcid", "subnetid", "stackname"),
)
"""Parameters that name what a call is about, where a record lists no resources."""


@dataclass(frozen=True)
class TheirSession:
    """One successful AssumeRole in the customer's trail."""

    request_id: str
    event_id: str
    at: datetime
    role_arn: str
    session_name: str
    source_identity: str
    source_ip: str
    access_key: str
    """Identifier of the session's key, which its calls carry; not a secret, and not printed."""


@dataclass(frozen=True)
class Call:
    """One call made in a session of the role."""

    event_id: str
    at: datetime
    role_arn: str
    session_name: str
    source_identity: str
    source_ip: str
    access_key: str
    service: str
    action: str
    resource: str
    result: str
    is_data_plane: bool


@dataclass
class Trail:
    """Everything about our role in an extract."""

    sessions: dict[str, TheirSession] = field(default_factory=dict)
    """By request id: a trail may deliver a record twice."""
    calls: dict[str, Call] = field(default_factory=dict)
    """By event id."""
    times: list[datetime] = field(default_factory=list)
    """When each record of the extract was, of whomever."""
    misplaced: list[str] = field(default_factory=list)
    """Files that hold records later than their own name says, which CloudTrail never writes."""

    def between(self, start: datetime, end: datetime) -> Trail:
        """Return what is in a span."""
        return Trail(
            {k: one for k, one in self.sessions.items() if start <= one.at <= end},
            {k: one for k, one in self.calls.items() if start <= one.at <= end},
            self.times,
            self.misplaced,
        )


def is_role_of(arn: str, account: str, base_name: str) -> bool:
    """Say whether an ARN is the boundary's role of any grant, in any partition."""
    pattern = rf"arn:[\w-]+:iam::{re.escape(account)}:role/(.+/)?{re.escape(base_name)}-g\d+"
    return re.fullmatch(pattern, arn) is not None


def read_trail(session: Session, files: list[TrailFile], *, account: str, base_name: str) -> Trail:
    """Return what some files say about a boundary's role."""
    trail = Trail()
    for file, record in records_of(session, files):
        at = event_time(record)
        trail.times.append(at)
        # The name has whole minutes: the minute it names may still be running.
        if (at - file.delivered_at).total_seconds() >= 60 and file.name not in trail.misplaced:
            trail.misplaced.append(file.name)
        if record.get("eventName") == "AssumeRole" and not record.get("errorCode"):
            _take_session(trail, record, at, account, base_name)
        else:
            _take_call(trail, record, at, account, base_name)
    return trail


def _take_session(
    trail: Trail, record: dict[str, Any], at: datetime, account: str, base_name: str
) -> None:
    asked = _lowered(record.get("requestParameters"))
    role_arn = str(asked.get("rolearn", ""))
    if not is_role_of(role_arn, account, base_name):
        return
    found = TheirSession(
        request_id=str(record.get("requestID", "")),
        event_id=str(record.get("eventID", "")),
        at=at,
        role_arn=role_arn,
        session_name=str(asked.get("rolesessionname", "")),
        source_identity=str(asked.get("sourceidentity", "")),
        source_ip=str(record.get("sourceIPAddress", "")),
        access_key=_find(record.get("responseElements"), "accesskeyid"),
    )
    trail.sessions.setdefault(found.request_id, found)


def _take_call(
    trail: Trail, record: dict[str, Any], at: datetime, account: str, base_name: str
) -> None:
    identity = record.get("userIdentity") or {}
    context = identity.get("sessionContext") or {}
    role_arn = str((context.get("sessionIssuer") or {}).get("arn", ""))
    if not is_role_of(role_arn, account, base_name):
        return
    found = Call(
        event_id=str(record.get("eventID", "")),
        at=at,
        role_arn=role_arn,
        session_name=str(identity.get("arn", "")).rsplit("/", 1)[-1],
        source_identity=str(context.get("sourceIdentity", "")),
        source_ip=str(record.get("sourceIPAddress", "")),
        access_key=str(identity.get("accessKeyId", "")),
        service=str(record.get("eventSource", "")).removesuffix(".amazonaws.com"),
        action=str(record.get("eventName", "")),
        resource=_resource(record),
        result=str(record.get("errorCode") or "done"),
        is_data_plane=record.get("eventCategory") == "Data"
        or record.get("managementEvent") is False,
    )
    trail.calls.setdefault(found.event_id, found)


def _resource(record: dict[str, Any]) -> str:
    listed = [str(_lowered(one).get("arn", "")) for one in record.get("resources") or [] if one]
    if any(listed):
        return ", ".join(sorted(filter(None, listed)))
    asked = _lowered(record.get("requestParameters"))
    for key in _RESOURCE_KEYS:
        if isinstance(asked.get(key), str):
            return str(asked[key])
    return ""


def _lowered(value: Any) -> dict[str, Any]:
    """Return a mapping with small keys; AWS's services differ in their capital letters."""
    if not isinstance(value, dict):
        return {}
    return {str(key).lower(): one for key, one in value.items()}


def _find(value: Any, wanted: str) -> str:
    """Return the first text under a key anywhere in an answer."""
    for key, one in _lowered(value).items():
        if key == wanted and isinstance(one, str):
            return one
        found = _find(one, wanted)
        if found:
            return found
    return ""
