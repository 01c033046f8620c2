"""R3, vendor sessions and bundles: what we recorded against what the customer's trail shows.

Called by the task inside its snapshot. Ours are the rows written around STS (`session_record.py`),
the bundles and verbs; theirs is the extract that the customer handed over. Matching is by STS's own
request id, else by role, names and time. Rows are held in memory, unlike R1's: their number is
bounded by the extract.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session, defer

from controlplane.domains.identity import repository as identity
from controlplane.domains.reports import repository
from controlplane.domains.reports.definition import (
    Definition,
    FindingLog,
    Moments,
    Row,
    Subject,
)
from controlplane.domains.reports.reconciliation import (
    DENIED_REASON,
    SESSION_LIFE,
    BoundaryCase,
    case_rows,
    coverage_of,
)
from controlplane.domains.reports.session_columns import (
    CELLS,
    COLUMNS,
    NOT_COMPARED,
    ONLY_OURS,
    ONLY_THEIRS,
    TOTALS,
)
from controlplane.domains.reports.trail import event_time, records_of
from controlplane.domains.reports.trail_events import read_trail
from controlplane.tables.access import AccessGrant
from controlplane.tables.agents import BundleRow, VerbRow
from controlplane.tables.organizations import CloudConnection
from controlplane.tables.reports import VendorSession
from wire.report import Freshness, HourCoverage

TEMPLATE = "R3 vendor sessions and bundles, version 1"
QUERY = """ours: vendor_session where asked_at between :from - 15 minutes and :to
grants: access_grant by number in the role's name
bundles: bundle where published_at between :from and :to
verbs: verb where issued_at between :from and :to
theirs: records of the extract with eventTime between :from - 15 minutes and :to whose
  AssumeRole names the boundary's role, or whose session issuer is it
match: STS request id; else role, session name and source identity within 120 seconds"""
METHOD = (
    "Every AssumeRole of ours is written before it is made and completed after it; without the row "
    "it is not made. Keys are not recorded.",
    "The customer's side is the files that the customer handed over, kept by digest and unchanged. "
    "Nobody of ours can read the trail itself.",
    "A session matches when both sides name the same STS request; where our side died before the "
    "answer, when role, session name and source identity agree within 120 seconds.",
    "Only ours is expected for a denied AssumeRole: AWS logs a denied cross-account call in the "
    "caller's account and not in the one whose role was asked for. The reason stands in each row.",
    "Only theirs is a finding: somebody used the role, and our record does not know it.",
    "Closed is the end of the session's credentials as STS gave it.",
)
GAPS = (
    "AWS logs data events (reading and writing objects) only where the customer's trail has them "
    "switched on: no row with data plane `yes` proves nothing where it has not.",
    "AWS never logs iam:PassRole; it is implied by the call that received the role.",
    "Calls inside a cluster (the Kubernetes API) are not in CloudTrail; the cluster's own audit "
    "log and the bundles below have them.",
    "CloudTrail's signed digest files are not checked here; the customer can check the extract "
    "with `aws cloudtrail validate-logs`.",
    "CloudTrail delivers within minutes, not at once: the last quarter of an hour may be missing.",
    "An hour without a file was quiet or is missing; it counts as missing where we opened a "
    "session in it.",
)
EXCLUSIONS = (
    "What the customer's own people did in the account.",
    "What the in-boundary agent did with the customer's own role for it.",
)


def define(session: Session, subject: Subject, moments: Moments) -> Definition:
    """Return R3 for a subject and a span."""
    log = FindingLog()
    found = [
        _case(session, boundary_id, name, moments)
        for boundary_id, name in sorted(subject.boundaries.items(), key=lambda item: item[1])
    ]
    cases = [case for case in found if case is not None]
    coverage = tuple(hour for case in cases for hour in coverage_of(case, moments))
    _found_before(log, cases, coverage)
    rows = sorted(
        (row for case in cases for row in case_rows(case)),
        key=lambda row: (row["person"], row["at"], row["record"], row["event_id"]),
    )
    return Definition(
        kind="R3",
        title="Vendor sessions and bundles",
        question="Which sessions of the vendor assumed the role, and what did they do?",
        template=TEMPLATE,
        parameters={"from": moments.start.isoformat(), "to": moments.end.isoformat()},
        method=METHOD,
        query=QUERY,
        columns=COLUMNS,
        cells=CELLS,
        legend=(),
        principal_column="person",
        totals=TOTALS,
        population="Every session of the boundary's role that we asked for or that the extract "
        f"shows, over {len(cases)} cloud connections; every bundle and verb that was published.",
        exclusions=EXCLUSIONS,
        known_gaps=GAPS,
        freshness=_freshness(session, cases),
        independent_count=sum(_independent(session, case, moments) for case in cases),
        independent_method="our rows counted in the database, and the extract read a second time "
        "by searching the text of each record for the role",
        rows=iter(rows),
        inspect=_inspect,
        findings=log,
        coverage=coverage,
    )


def _case(session: Session, boundary_id: UUID, name: str, moments: Moments) -> BoundaryCase | None:
    connection = session.scalars(
        select(CloudConnection)
        .where(CloudConnection.boundary_id == boundary_id)
        # The External ID is a secret, which the role that reads here may not see.
        .options(defer(CloudConnection.external_id, raiseload=True))
    ).one_or_none()
    if connection is None:
        return None
    # A session opened before the span may still be used in it.
    since = moments.start - SESSION_LIFE
    files = repository.list_trail_files(session, connection.boundary_id, since, moments.end)
    ours = session.scalars(
        select(VendorSession)
        .where(
            VendorSession.boundary_id == boundary_id,
            VendorSession.asked_at.between(since, moments.end),
        )
        .order_by(VendorSession.asked_at)
    ).all()
    grants = session.scalars(select(AccessGrant).where(AccessGrant.boundary_id == boundary_id))
    bundles = session.scalars(
        select(BundleRow).where(
            BundleRow.boundary_id == boundary_id,
            BundleRow.published_at.between(moments.start, moments.end),
        )
    )
    verbs = session.scalars(
        select(VerbRow).where(
            VerbRow.boundary_id == boundary_id,
            VerbRow.issued_at.between(moments.start, moments.end),
        )
    )
    by_number = {grant.number: grant for grant in grants}
    return BoundaryCase(
        boundary=name,
        connection=connection,
        people=_people(session, by_number.values()),
        grants=by_number,
        ours=list(ours),
        bundles=list(bundles),
        verbs=list(verbs),
        files=files,
        trail=read_trail(
            session, files, account=connection.account, base_name=connection.role_base_name
        ).between(since, moments.end),
    )


def _people(session: Session, grants: Iterable[AccessGrant]) -> dict[UUID, str]:
    wanted = {person for grant in grants for person in (grant.requested_by, grant.decided_by)}
    cards = identity.get_cards(session, wanted)
    return {identifier: card.subject for identifier, card in cards.items()}


def _found_before(
    log: FindingLog, cases: list[BoundaryCase], coverage: tuple[HourCoverage, ...]
) -> None:
    """Record what an extract lacks or has in the wrong place."""
    for case in cases:
        for name in case.trail.misplaced:
            log.add(
                "finding",
                "misplaced-records",
                f"A trail file holds records later than its own name says, the first: {name}. "
                "CloudTrail never writes that: files were renamed or reordered.",
                None,
            )
        names = [file.name for file in case.files]
        for name in sorted({name for name in names if names.count(name) > 1}):
            log.add(
                "finding",
                "two-files-of-one-name",
                f"Two different trail files were handed over under one name, the first: {name}.",
                None,
            )
    for hour in coverage:
        if hour.files == 0 and hour.sessions > 0:
            log.add(
                "finding",
                "hour-missing",
                "The extract has no file for an hour in which we opened a session, the first: "
                f"{hour.boundary}, {hour.hour:%Y-%m-%d %H}h UTC.",
                None,
            )


def _inspect(log: FindingLog, number: int, row: Row) -> None:
    if row["match"] == ONLY_THEIRS:
        log.add(
            "finding",
            "only-theirs",
            "The customer's trail shows a use of the role that our record does not know.",
            number,
        )
    elif row["match"] == ONLY_OURS and row["why"] == DENIED_REASON:
        log.add("note", "denied", "Denied attempts are in our record only, as AWS has it.", number)
    elif row["match"] == ONLY_OURS:
        log.add(
            "finding",
            "only-ours",
            "We recorded a session that the customer's trail does not show although it has files "
            "for that hour.",
            number,
        )
    elif row["match"] == NOT_COMPARED:
        log.add("note", "not-compared", "No trail file was handed over for this hour.", number)
    if row["data_plane"] == "yes":
        log.add("note", "data-plane", "A session touched the data plane.", number)


def _independent(session: Session, case: BoundaryCase, moments: Moments) -> int:
    """Count a boundary's lines again: our rows by SQL, theirs by searching each record's text."""
    scope = {"boundary": case.connection.boundary_id, "start": moments.start, "end": moments.end}
    ours = session.execute(text(_COUNT_OURS), scope).scalar_one()
    known = set(session.execute(text(_REQUEST_IDS), scope).scalars())
    needle = f":role/{case.connection.role_base_name}-g"
    since = moments.start - SESSION_LIFE
    opened: set[str] = set()
    called: set[str] = set()
    for _, record in records_of(session, case.files):
        if not since <= event_time(record) <= moments.end:
            continue
        if needle in json.dumps(record.get("userIdentity", {})):
            called.add(record.get("eventID", ""))
        elif (
            record.get("eventName") == "AssumeRole"
            and "errorCode" not in record
            and needle in json.dumps(record.get("requestParameters", {}))
        ):
            opened.add(record.get("requestID", ""))
    matched = case.matches()
    guessed = sum(one.outcome == "unknown" and one.id in matched for one in case.ours)
    return int(ours) + len(opened - known) - guessed + len(called)


_COUNT_OURS = """
SELECT (SELECT count(*) FROM vendor_session WHERE boundary_id = :boundary
          AND NOT (asked_at < CAST(:start AS timestamptz) - interval '900 seconds'
                   OR asked_at > :end))
     + (SELECT count(*) FROM bundle WHERE boundary_id = :boundary
          AND NOT (published_at < :start OR published_at > :end))
     + (SELECT count(*) FROM verb WHERE boundary_id = :boundary
          AND NOT (issued_at < :start OR issued_at > :end))"""
_REQUEST_IDS = """
SELECT aws_request_id FROM vendor_session WHERE boundary_id = :boundary
  AND aws_request_id IS NOT NULL
  AND NOT (asked_at < CAST(:start AS timestamptz) - interval '900 seconds' OR asked_at > :end)"""


def _freshness(session: Session, cases: list[BoundaryCase]) -> tuple[Freshness, ...]:
    newest = session.scalars(select(func.max(VendorSession.asked_at))).one()
    found = [Freshness(source="our sessions", as_of=newest, note="newest attempt")]
    for case in cases:
        ends = [file.last_event_at for file in case.files if file.last_event_at is not None]
        found.append(
            Freshness(
                source=f"trail of boundary {case.boundary}",
                as_of=max(ends, default=None),
                note=f"newest record in {len(case.files)} files handed over",
            )
        )
    return tuple(found)
