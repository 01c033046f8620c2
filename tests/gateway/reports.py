"""Events as clients report them, for the tests of the intake and of the roll-up by day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from wire.usage import CLIENT_EVENT, AnyClientEvent, uuid7

NOW = datetime.now(UTC)


def report(kind: str, at: datetime | None = None, **data: Any) -> dict[str, Any]:
    """Return an event as JSON."""
    return {
        "id": str(uuid7()),
        "type": f"{kind}.v1",
        "time": (at or datetime.now(UTC)).isoformat(),
        "data": {
            "client": "ringfence_python",
            "client_version": "0.1.0",
            "ide": "vscode",
            "language": "python",
            "feature": "code_completion",
            **data,
        },
    }


def shown(change: UUID | None = None, at: datetime | None = None, **data: Any) -> dict[str, Any]:
    """Return a change that was shown: ten lines, for a second."""
    values = {
        "change_id": str(change or uuid4()),
        "lines_suggested_add": 10,
        "lines_suggested_del": 0,
        "files": 1,
        "visible_ms": 1000,
    }
    return report("change.shown", at, **{**values, **data})


def decided(change: UUID, decision: str, at: datetime | None = None, **data: Any) -> dict[str, Any]:
    """Return a decision."""
    values = {"decision_ms": 1200, "reviewed": False, "diff_opened": False}
    return report(
        "change.decided", at, **{"change_id": str(change), "decision": decision, **values, **data}
    )


def applied(change: UUID, at: datetime | None = None, **data: Any) -> dict[str, Any]:
    """Return an application of ten lines by a person."""
    values = {"apply_mode": "user", "lines_added": 10, "lines_deleted": 0, "files": 1}
    return report("change.applied", at, **{"change_id": str(change), **values, **data})


def undone(
    change: UUID, lines: int, after: timedelta, at: datetime | None = None
) -> dict[str, Any]:
    """Return an undo."""
    values = {"lines_undone": lines, "after_ms": after.total_seconds() * 1000}
    return report("change.undone", at, change_id=str(change), **values)


def survival(**data: Any) -> dict[str, Any]:
    """Return what was left of ten lines at a merge."""
    values = {
        "horizon": "merge",
        "original_ai_loc": 10,
        "unchanged_ai_loc": 6,
        "modified_ai_loc": 3,
        "deleted_ai_loc": 1,
    }
    return report("change.survival", None, **{**values, **data})


def review(**data: Any) -> dict[str, Any]:
    """Return the suggestions of a review."""
    values = {"suggested": 4, "applied": 1, "comment_type": "bug"}
    return report("review.suggestion", None, **{**values, **data})


def one_of_each(change: UUID | None = None) -> list[dict[str, Any]]:
    """Return one event of each kind."""
    name = change or uuid4()
    return [
        shown(name),
        decided(name, "accepted"),
        applied(name),
        undone(name, 2, timedelta(minutes=1)),
        survival(),
        review(),
    ]


def parsed(*events: dict[str, Any]) -> list[AnyClientEvent]:
    """Return events as the gateway parses them."""
    return [CLIENT_EVENT.validate_python(event) for event in events]
