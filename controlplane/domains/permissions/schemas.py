"""Permissions and their differences, as the API shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel

from controlplane.domains.identity.schemas import PersonOut

Effect = Literal["Allow", "Deny"]
Status = Literal["added", "removed", "widened", "narrowed", "changed", "unchanged"]
Level = Literal["list", "read", "write", "permissions management", "tagging"]


class ComparedWithOut(BaseModel):
    """The grant that was open last, with which it is compared."""

    grant_id: UUID
    number: int
    activated_at: datetime
    decided_by: PersonOut | None
    kept: bool
    """False when only its digest is known: then every line is shown as added."""


class CountsOut(BaseModel):
    """Lines by what became of them; a line is one action of one part of the template."""

    added: int
    removed: int
    widened: int
    narrowed: int
    changed: int
    """Different, and neither proven wider nor narrower."""
    unchanged: int
    settings: int
    """Differences of the template beside its policies."""
    more_power: int
    """Lines after which the role can do more: an allow added, or a deny removed."""


class PermissionSummaryOut(BaseModel):
    """What a grant asks for, in figures."""

    digest: str
    compared_with: ComparedWithOut | None
    """None for the first access: everything is added."""
    counts: CountsOut


class EvidenceOut(BaseModel):
    """One reason why an action is needed."""

    kind: Literal["provider", "control plane", "dependent"]
    """provider: called for a resource of the blueprint; control plane: called by our own code;
    dependent: AWS asks for it beside another action."""
    action: str
    text: str


class ConditionOut(BaseModel):
    """One test that a request must pass."""

    operator: str
    key: str
    values: list[str]
    words: str


class StatementOut(BaseModel):
    """A statement of the template, and what it is for."""

    name: str
    reason: str | None


class UseOut(BaseModel):
    """What actions may be used on, by whom, and only if what holds."""

    actions: list[str]
    principals: list[str]
    resources: list[str]
    conditions: list[ConditionOut]
    statements: list[StatementOut]


class LineOut(BaseModel):
    """One line: an action (or several that cover each other) before and after."""

    part: str
    service: str
    effect: Effect
    status: Status
    power: Literal["more", "less", "unclear", "same"]
    """Whether the role can do more than before."""
    actions: list[str]
    """After the change; of what was removed, before it."""
    levels: list[Level]
    """AWS's access levels, where they are known."""
    evidence: list[EvidenceOut]
    """Empty where nothing is known to need the action; parts other than the role have none."""
    before: list[UseOut]
    """Empty for what was added, and for what is unchanged."""
    after: list[UseOut]


class SettingOut(BaseModel):
    """A difference of the template beside its policies."""

    path: str
    before: str | None
    after: str | None


class PolicyOut(BaseModel):
    """A policy as AWS gets it; the External ID is named by its hash."""

    name: str
    document: dict[str, Any]


class PartOut(BaseModel):
    """A part of the template with its policies."""

    name: str
    title: str
    policies: list[PolicyOut]


class PermissionsOut(BaseModel):
    """What a grant asks for, statement by statement, beside what was open last."""

    grant_id: UUID
    number: int
    digest: str
    """Of the template with the External ID's hash in its place; the approval is for this digest."""
    compared_with: ComparedWithOut | None
    counts: CountsOut
    parts: list[PartOut]
    lines: list[LineOut]
    settings: list[SettingOut]
