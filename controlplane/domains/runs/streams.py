"""One page of a run's events for the stream: a short transaction of its own.

Called by the event route again and again; no connection is held between pages.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from controlplane.core.actor import OpContext
from controlplane.core.db import Database
from controlplane.core.run_engine import events
from controlplane.core.run_engine.decide import FINAL
from controlplane.domains.runs import repository
from wire.run_event import RunEvent


@dataclass(frozen=True)
class Page:
    """Events above the asked number, and whether no more can come after them."""

    events: list[RunEvent]
    is_over: bool


def read_page(database: Database, ctx: OpContext, run_id: UUID, after: int) -> Page:
    """Return the next events. Raises: NotFoundError, also for runs of other boundaries."""
    with database.transaction(ctx.scope) as session:
        run = repository.get_run(session, run_id)
        found = events.read_after(session, run_id, after)
        last = found[-1].seq if found else after
        # The run's row was read first: if it is final, `last_seq` is final too.
        return Page(found, run.state in FINAL and last >= run.last_seq)
