"""Make up a day of a business unit and drive it through the real path of a boundary.

Used by `ringfence usage replay`. Separate from the command: the plan is pure and the same for the
same seed; only ids and times are of the run. Everything sent is marked as synthetic by the gateway.

Distributions of the plan (made up to look like a unit that works; not measured on anyone):
- 85 % of the developers are active; of these, 90 % have a plug-in that reports changes.
- Requests per active developer: log-normal, median 8, sigma 0.7, from 1 to 40.
- Time of day: half around 10:30, half around 15:00, normal with a deviation of 75 minutes, within
  07:00 and 19:00.
- A developer keeps one editor and works in one language for 80 % of the requests; both are drawn
  with the weights `IDES` and `LANGUAGES`; features with `FEATURES`.
- Lines suggested: geometric, mean 4 for completions, 12 for chat, 45 for agents' edits; deletions a
  quarter of that except for completions. Visible: log-normal, median 2.2 s, sigma 0.8.
- Acceptance of offered changes: each developer has a rate from Beta(3, 7), mean 0.3; a quarter of
  the accepted are partial. Of the others: 30 % rejected, 35 % dismissed, 20 % superseded, 10 %
  expired, 5 % left open. Agents' edits: 60 % autonomous, 25 % auto-approved, 15 % by the person.
- 4 % of the applied changes are undone, three quarters of these within ten minutes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, TypeVar
from uuid import UUID

from wire.usage import ApplyMode, Decision, Feature, Ide, Language

T = TypeVar("T")
DAY_START_HOUR: Final = 7
DAY_HOURS: Final = 12
LANGUAGES: Final = {
    Language.PYTHON: 30,
    Language.JAVA: 24,
    Language.TYPESCRIPT: 20,
    Language.GO: 10,
    Language.SQL: 6,
    Language.KOTLIN: 5,
    Language.OTHER: 3,
    Language.UNKNOWN: 2,
}
IDES: Final = {
    Ide.VSCODE: 55,
    Ide.JETBRAINS: 30,
    Ide.NEOVIM: 8,
    Ide.VISUAL_STUDIO: 5,
    Ide.UNKNOWN: 2,
}
FEATURES: Final = {
    Feature.CODE_COMPLETION: 60,
    Feature.CHAT_ASK: 12,
    Feature.CHAT_EDIT: 9,
    Feature.CHAT_INLINE: 8,
    Feature.AGENT_EDIT: 8,
    Feature.CLI: 3,
}
MEAN_LINES: Final = {
    Feature.CODE_COMPLETION: 4,
    Feature.CHAT_ASK: 12,
    Feature.CHAT_EDIT: 12,
    Feature.CHAT_INLINE: 12,
    Feature.AGENT_EDIT: 45,
}
"""Features without an entry make no change."""
OTHERWISE: Final = {
    Decision.REJECTED: 30,
    Decision.DISMISSED: 35,
    Decision.SUPERSEDED: 20,
    Decision.EXPIRED: 10,
    None: 5,
}
MODES: Final = {ApplyMode.AUTONOMOUS: 60, ApplyMode.AUTO_APPROVED: 25, ApplyMode.USER: 15}


@dataclass(frozen=True)
class Change:
    """What becomes of the answer to one request."""

    id: UUID
    lines_add: int
    lines_del: int
    files: int
    visible_ms: float
    decision: Decision | None
    lines_accepted: int | None
    diff_opened: bool
    apply_mode: ApplyMode | None
    """None when it is not applied."""
    lines_undone: int
    undone_after_ms: float


@dataclass(frozen=True)
class Act:
    """One request of one made-up developer."""

    second: float
    """Seconds from the start of the working day."""
    developer: int
    reports: bool
    """Whether the developer has a plug-in."""
    feature: Feature
    language: Language
    ide: Ide
    change: Change | None


def _pick(rng: Random, weights: dict[T, int]) -> T:
    return rng.choices(list(weights), list(weights.values()))[0]


def _uuid(rng: Random) -> UUID:
    return UUID(int=rng.getrandbits(128), version=4)


def _geometric(rng: Random, mean: float) -> int:
    """Return a count of at least one with that mean."""
    return 1 + int(math.log(1 - rng.random()) / math.log(1 - 1 / mean))


def _change(rng: Random, feature: Feature, rate: float) -> Change | None:
    mean = MEAN_LINES.get(feature)
    if mean is None:
        return None
    added = _geometric(rng, mean)
    deleted = 0 if feature is Feature.CODE_COMPLETION else added // 4
    decision: Decision | None = Decision.ACCEPTED if rng.random() < rate else None
    lines_accepted = None
    if decision is None:
        decision = _pick(rng, OTHERWISE)
    elif added > 1 and rng.random() < 0.25:
        decision, lines_accepted = Decision.PARTIAL, rng.randrange(1, added)
    mode: ApplyMode | None = None
    if feature is Feature.AGENT_EDIT:
        mode, decision, lines_accepted = _pick(rng, MODES), None, None
    elif decision in {Decision.ACCEPTED, Decision.PARTIAL}:
        mode = ApplyMode.USER
    undone = mode is not None and rng.random() < 0.04
    soon = rng.random() < 0.75
    return Change(
        id=_uuid(rng),
        lines_add=added,
        lines_del=deleted,
        files=1 if feature is not Feature.AGENT_EDIT else rng.randint(1, 6),
        visible_ms=round(rng.lognormvariate(math.log(2200), 0.8), 1),
        decision=decision,
        lines_accepted=lines_accepted,
        diff_opened=rng.random() < 0.3,
        apply_mode=mode,
        lines_undone=(lines_accepted or added) if undone else 0,
        undone_after_ms=float(rng.randint(5, 590) if soon else rng.randint(601, 7200)) * 1000,
    )


def _second(rng: Random) -> float:
    """Return a moment of the working day."""
    while True:
        peak = rng.choice((10.5, 15.0))
        hour = rng.gauss(peak, 1.25) - DAY_START_HOUR
        if 0 <= hour < DAY_HOURS:
            return round(hour * 3600, 1)


def plan_day(developers: int, seed: int) -> Sequence[Act]:
    """Return everything that happens on the day, in order; the same for the same seed."""
    rng = Random(seed)  # noqa: S311 - a plan must be repeatable, and is no secret
    acts: list[Act] = []
    for developer in range(developers):
        active, reports = rng.random() < 0.85, rng.random() < 0.9
        ide, home, rate = _pick(rng, IDES), _pick(rng, LANGUAGES), rng.betavariate(3, 7)
        requests = min(40, max(1, round(rng.lognormvariate(math.log(8), 0.7))))
        for _ in range(requests if active else 0):
            feature = _pick(rng, FEATURES)
            language = home if rng.random() < 0.8 else _pick(rng, LANGUAGES)
            change = _change(rng, feature, rate)
            acts.append(Act(_second(rng), developer, reports, feature, language, ide, change))
    return sorted(acts, key=lambda act: (act.second, act.developer))
