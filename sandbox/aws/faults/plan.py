"""The fault plan: what goes wrong, at which call, written as a file of the run folder.

Read by the injector at each call, written by `ringfence faults` and by tests. A file and never a
request, like the clock's offset: nothing that runs in a cluster of the account may make faults.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sandbox.aws.errors import PROTOCOLS
from sandbox.aws.faults.catalogue import LIMITS, SLOW
from sandbox.aws.files import write_private

PLAN_FILE = "aws-faults.json"
STRUCK_FILE = "aws-faults-struck.jsonl"

Kind = Literal[
    "throttle", "deny", "expire", "execute-and-timeout", "error-though-done", "lag",
    "stuck-creating", "create-failed-late", "quota", "out-of-band", "role-deleted",
    "external-id-rotated", "latency",
]  # fmt: skip
_TIMED = ("lag", "latency")


class Act(BaseModel):
    """One call that the customer's administrator makes; `$created` is what the struck call made."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    service: str
    operation: str
    parameters: dict[str, Any] = Field(default_factory=dict)


class Rule(BaseModel):
    """One fault and the calls it strikes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind
    service: str = Field(default="*", description="signing name as ec2, iam, eks; * is every one")
    operation: str = Field(default="*", description="name in the API; * stands for any characters")
    changes_only: bool = Field(default=False, description="count and strike only changing calls")
    caller: Literal["grant", "anyone"] = Field(
        default="grant", description="grant: sessions of the vendor's one role only"
    )
    boundary: str = Field(default="", description="only sessions with this boundary's tag")
    call: int | None = Field(default=None, ge=1, description="strike the n-th call that fits")
    every: bool = Field(default=False, description="strike every call that fits")
    probability: float | None = Field(default=None, gt=0, le=1)
    times: int | None = Field(default=None, ge=1, description="strike at most this often")
    seconds: float | None = Field(default=None, ge=0, description="at time scale 1")
    act: Act | None = None

    @model_validator(mode="after")
    def _whole(self) -> Rule:
        """Refuse a rule that says too little or too much, naming the field."""
        if [self.call is not None, self.every, self.probability is not None].count(True) != 1:
            raise ValueError(f"{self.kind}: give exactly one of call, every, probability")
        if self.service != "*" and self.service not in PROTOCOLS:
            raise ValueError(f"service: {self.service!r} is none of {', '.join(sorted(PROTOCOLS))}")
        if (self.act is not None) != (self.kind == "out-of-band"):
            raise ValueError(f"{self.kind}: `act` belongs to out-of-band, which needs it")
        if self.kind in _TIMED and self.seconds is None:
            raise ValueError(f"{self.kind}: give `seconds`, at time scale 1")
        if self.seconds is not None and self.kind not in (*_TIMED, "stuck-creating"):
            raise ValueError(f"{self.kind}: takes no `seconds`")
        if self.kind in ("stuck-creating", "create-failed-late") and self.operation not in SLOW:
            raise ValueError(f"operation: {self.kind} strikes one of {', '.join(sorted(SLOW))}")
        if self.kind == "quota" and self.operation not in LIMITS:
            raise ValueError(f"operation: quota strikes one of {', '.join(sorted(LIMITS))}")
        return self


class FaultPlan(BaseModel):
    """Every fault in force; chance is drawn from the seed, so that a run can be repeated."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = 0
    rules: tuple[Rule, ...] = ()


class FaultPlanError(ValueError):
    """The file is not a fault plan; the message names the field and what it must be."""


def parse_plan(text: str, source: str) -> FaultPlan:
    """Read a plan. Raises: FaultPlanError naming `source`, the field and the fix."""
    try:
        return FaultPlan.model_validate_json(text)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False)
        lines = "; ".join(
            f"{'.'.join(map(str, one['loc'])) or 'plan'}: "
            f"{one['msg'].removeprefix('Value error, ')}"
            for one in found
        )
        raise FaultPlanError(f"{source}: {lines}") from error


def write_plan(run_dir: Path, plan: FaultPlan) -> None:
    """Put a plan in force, whole or not at all; its counting starts anew."""
    (run_dir / STRUCK_FILE).unlink(missing_ok=True)
    write_private(run_dir / PLAN_FILE, plan.model_dump_json(exclude_defaults=True).encode())


def clear_plan(run_dir: Path) -> bool:
    """Take the plan out of force; tell whether there was one."""
    there = (run_dir / PLAN_FILE).exists()
    (run_dir / PLAN_FILE).unlink(missing_ok=True)
    return there


class PlanFile:
    """The plan in force, read again whenever its file changed."""

    def __init__(self, run_dir: Path) -> None:
        """Watch `aws-faults.json` of a run folder."""
        self._path = run_dir / PLAN_FILE
        self._seen: tuple[int, int, int] | None = None
        self._plan: FaultPlan | None = None

    def current(self) -> tuple[FaultPlan | None, bool]:
        """Give the plan and whether it is another than at the last look.

        Raises: FaultPlanError, at each look until the file is mended: a rehearsal whose faults
        were silently left out would prove nothing.
        """
        try:
            status = os.stat(self._path)
            text = self._path.read_text()
        except FileNotFoundError:
            changed = self._plan is not None
            self._seen, self._plan = None, None
            return None, changed
        seen = (status.st_ino, status.st_mtime_ns, status.st_size)
        if seen == self._seen:
            return self._plan, False
        plan = parse_plan(text, str(self._path.name))
        self._seen, self._plan = seen, plan
        return plan, True


def struck(run_dir: Path) -> list[dict[str, Any]]:
    """Read which calls the plan in force has struck, in order."""
    try:
        text = (run_dir / STRUCK_FILE).read_text()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in text.splitlines()]
