"""Conditions with an honest lastTransitionTime.

Used by every controller's plan. The time changes only when the status does, so an unchanged world
gives an unchanged status and no write.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from wire.resources import Condition, Status

Truth = Literal["True", "False", "Unknown"]
MAX_MESSAGE = 1000


@dataclass(frozen=True)
class Finding:
    """What a plan says about one condition, before times are known."""

    type: str
    status: Truth
    reason: str
    message: str = ""

    @property
    def holds(self) -> bool:
        return self.status == "True"


def conditions(
    findings: Iterable[Finding], before: Status | None, generation: int, now: datetime
) -> tuple[Condition, ...]:
    """Return the conditions to store, keeping the transition time of what did not change."""
    moment = now.astimezone(UTC).replace(microsecond=0)
    result = []
    for finding in findings:
        known = before.condition(finding.type) if before else None
        unchanged = known is not None and known.status == finding.status
        result.append(
            Condition(
                type=finding.type,
                status=finding.status,
                reason=str(finding.reason),
                message=finding.message[:MAX_MESSAGE],
                last_transition_time=known.last_transition_time if known and unchanged else moment,
                observed_generation=generation,
            )
        )
    return tuple(result)


def summary(findings: Iterable[Finding], reason: str, message: str = "") -> Finding:
    """Return the `Ready` finding: True when all hold, else the first that does not."""
    for finding in findings:
        if not finding.holds:
            return Finding("Ready", finding.status, finding.reason, finding.message)
    return Finding("Ready", "True", reason, message)
