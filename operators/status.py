"""Read a stored status, and say that a stored spec is outside the vocabulary.

Used by every controller; apart because `operators.core` knows none of our kinds.
"""

from __future__ import annotations

from typing import TypeVar

from pydantic import ValidationError

from operators.core.api import RawObject
from operators.core.conditions import Finding
from wire.resources import KINDS, InvalidResourceError, Status

Kind = TypeVar("Kind", bound=Status)


def parse_status(obj: RawObject, model: type[Kind]) -> Kind | None:
    """Return the stored status, or None when there is none or another version wrote it.

    A status that cannot be read is not an error: it is observed anew and overwritten.
    """
    raw = obj.get("status")
    if not raw:
        return None
    try:
        return model.model_validate(raw)
    except ValidationError:
        return None


def invalid_findings(kind: str, error: InvalidResourceError) -> list[Finding]:
    """Return `Ready=False InvalidSpec` and every other condition as Unknown."""
    first, *others = KINDS[kind].condition_types
    return [
        Finding(first, "False", "InvalidSpec", "; ".join(error.problems)),
        *(Finding(type_, "Unknown", "InvalidSpec", "see Ready") for type_ in others),
    ]


def is_true(obj: RawObject | None, type_: str) -> bool:
    """Return whether a condition of a raw object is True for its current generation."""
    if obj is None:
        return False
    generation = obj["metadata"].get("generation", 0)
    return any(
        c["type"] == type_ and c["status"] == "True" and c.get("observedGeneration") == generation
        for c in obj.get("status", {}).get("conditions", [])
    )


def reason_of(obj: RawObject | None, type_: str) -> str:
    """Return the reason of a condition of a raw object, empty when it has none."""
    if obj is None:
        return ""
    for condition in obj.get("status", {}).get("conditions", []):
        if condition["type"] == type_:
            return str(condition["reason"])
    return ""
