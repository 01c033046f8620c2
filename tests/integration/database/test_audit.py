"""The audit chain: in the transaction of the change, without gaps, tamper-evident."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from controlplane.core import audit
from controlplane.core.actor import OpContext, system_actor
from controlplane.core.db import Database, Scope
from controlplane.core.ids import new_id
from controlplane.domains.audit.repository import list_events
from proof.audit_chain import BrokenChainError, ChainWalk
from tests.postgres import DatabaseUrls


@pytest.fixture
def scope(database: DatabaseUrls) -> Scope:
    """One organization with one boundary."""
    organization, boundary = new_id(), new_id()
    with psycopg.connect(database.admin) as connection:
        connection.execute(
            "INSERT INTO organization (id, name, display_name, document, document_digest)"
            " VALUES (%s, 'acme', '', '{}', '')",
            (organization,),
        )
        connection.execute(
            "INSERT INTO boundary (organization_id, id, name, display_name, target, blueprint,"
            " blueprint_version, inputs) VALUES (%s, %s, 'b', '', '{}', '', '', '{}')",
            (organization, boundary),
        )
    return Scope.boundary(organization, boundary)


@pytest.fixture
def api(database: DatabaseUrls) -> Iterator[Database]:
    """The database as the API's role sees it."""
    opened = Database.connect(database.api, pool_size=8)
    yield opened
    opened.close()


def append(session: Session, scope: Scope, **detail: Any) -> int:
    """Append an event to the scope's boundary chain."""
    assert scope.boundary_ids is not None
    (boundary,) = scope.boundary_ids
    context = OpContext(system_actor("test"), "request-1", scope)
    return audit.append(
        session, context, "boundary.updated", target="t/1", boundary_id=boundary, detail=detail
    )


def chain(api: Database, scope: Scope) -> list[dict[str, Any]]:
    """Return the scope's boundary chain."""
    assert scope.boundary_ids is not None
    (boundary,) = scope.boundary_ids
    with api.transaction(scope) as session:
        return [audit.record(e) for e in list_events(session, boundary, after=0, limit=1000)]


def first_bad(events: list[dict[str, Any]]) -> int | None:
    """Return the first sequence number at which a chain does not hold."""
    walk = ChainWalk()
    try:
        for event in events:
            walk.follow(event)
    except BrokenChainError as error:
        return error.seq
    return None


def test_an_event_is_written_in_the_transaction_of_the_change(api: Database, scope: Scope) -> None:
    with pytest.raises(InterruptedError):
        _append_and_fail(api, scope)
    assert chain(api, scope) == []


def _append_and_fail(api: Database, scope: Scope) -> None:
    with api.transaction(scope) as session:
        append(session, scope)
        raise InterruptedError


def test_sequences_have_no_gap_under_concurrent_writers_and_rollbacks(
    api: Database, scope: Scope
) -> None:
    def write(worker: int) -> None:
        for turn in range(10):
            with api.transaction(scope) as session:
                append(session, scope, worker=worker, turn=turn)
                if turn % 3 == 0:
                    session.rollback()

    with ThreadPoolExecutor(max_workers=6) as pool:
        for future in [pool.submit(write, number) for number in range(6)]:
            future.result(timeout=60)
    events = chain(api, scope)
    assert [e["seq"] for e in events] == list(range(1, 37))
    assert first_bad(events) is None
    assert [e["at"] for e in events] == sorted(e["at"] for e in events)


@pytest.mark.parametrize("what", ["edit", "delete", "reorder"])
def test_tampering_is_found_at_its_sequence(
    what: str, api: Database, scope: Scope, database: DatabaseUrls
) -> None:
    with api.transaction(scope) as session:
        for number in range(5):
            append(session, scope, number=number)
    with psycopg.connect(database.admin) as connection:
        connection.execute(
            {
                "edit": "UPDATE audit_event SET detail = '{\"number\": 9}' WHERE seq = 3",
                "delete": "DELETE FROM audit_event WHERE seq = 3",
                "reorder": "UPDATE audit_event SET detail = CASE seq"
                " WHEN 3 THEN '{\"number\": 3}'::jsonb ELSE '{\"number\": 2}'::jsonb END"
                " WHERE seq IN (3, 4)",
            }[what]
        )
    assert first_bad(chain(api, scope)) == 3


def test_an_undocumented_code_is_refused(api: Database, scope: Scope) -> None:
    context = OpContext(system_actor("test"), "request-1", scope)
    with pytest.raises(KeyError, match="not documented"), api.transaction(scope) as session:
        audit.append(session, context, "made.up", target="t/1")


def test_an_organizations_and_the_platforms_chains_are_their_own(
    api: Database, scope: Scope
) -> None:
    platform = OpContext(system_actor("test"), "r", Scope.platform())
    organization = OpContext(system_actor("test"), "r", Scope(scope.organization_id))
    with api.transaction(Scope.platform()) as session:
        assert audit.append(session, platform, "blueprint.registered", target="b/1") == 1
    with api.transaction(organization.scope) as session:
        assert audit.append(session, organization, "organization.applied", target="o/1") == 1
        rows = (
            session.execute(
                text(
                    "SELECT chain_id FROM audit_event WHERE boundary_id IS NULL"
                    " AND organization_id IS NOT NULL"
                )
            )
            .scalars()
            .all()
        )
    assert rows == [scope.organization_id]
    with api.transaction(scope) as session:
        assert append(session, scope) == 1
    assert UUID(int=0) == audit.PLATFORM_CHAIN
