"""One answer of the preflight. Separate because its checks are in two modules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["pass", "warn", "fail"]
BOUNDARY_TAG = "ringfence:boundary"


@dataclass(frozen=True)
class Check:
    """One answer: what was looked at, how it stands, and what to do about it."""

    name: str
    state: State
    message: str
    remedy: str | None = None
