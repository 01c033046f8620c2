"""Pages of events as an agent pushes them, for the tests of the control plane."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from wire.usage import (
    EgressClass,
    EventPush,
    Export,
    ExportedEvent,
    Operation,
    RecordedShown,
    RequestCompleted,
    Shown,
    UsageEvent,
    UsageSource,
    uuid7,
)

SINCE = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
"""When the customer of these tests said `events`."""


def shown_event(boundary_id: str, person: int = 1, **changed: Any) -> RecordedShown:
    """Return a change that was shown."""
    values: dict[str, Any] = {
        "id": uuid7(),
        "time": SINCE + timedelta(minutes=1),
        "source": f"/boundaries/{boundary_id}/gateway",
        "boundary_id": boundary_id,
        "group_id": "payments-engineers",
        "subject": f"{person:064x}",
        "data": Shown(
            change_id=uuid4(),
            lines_suggested_add=10,
            lines_suggested_del=0,
            files=1,
            visible_ms=900,
        ),
    }
    return RecordedShown(**{**values, **changed})


def request_event(boundary_id: str, person: int = 1, **changed: Any) -> UsageEvent:
    """Return an answered request."""
    data = RequestCompleted(
        boundary_id=boundary_id,
        group_id="payments-engineers",
        operation=Operation.CHAT,
        provider="llama_cpp",
        input_tokens=10,
        output_tokens=5,
        usage_source=UsageSource.REPORTED,
        requested_model="payments-style",
        served_model="payments-style",
        model_version="tiny-coder",
        adapter_id="payments-style",
        deployment_id="coder",
        egress_class=EgressClass.BOUNDARY,
        stream=False,
        ttft_ms=30.0,
        tpot_ms=None,
        duration_ms=60.0,
        queue_ms=0.0,
        error_type="none",
    )
    values: dict[str, Any] = {
        "id": uuid7(),
        "time": SINCE + timedelta(minutes=2),
        "source": f"/boundaries/{boundary_id}/gateway",
        "subject": f"{person:064x}",
        "data": data,
    }
    return UsageEvent(**{**values, **changed})


def page(*events: ExportedEvent, since: datetime = SINCE, **changed: Any) -> EventPush:
    """Return a page of given events."""
    return EventPush(**{"export": Export.EVENTS, "since": since, "events": events, **changed})


def page_of(boundary_id: str, pairs: int = 1) -> EventPush:
    """Return a page of so many requests and changes."""
    made = [make(boundary_id, n) for n in range(pairs) for make in (request_event, shown_event)]
    return page(*made)
