"""The formulae of usage: what each figure is, from which counts, and in which words.

Called by the summary only. Separate and pure, because a figure and the formula that is shown beside
it must never part: both stand in one line of `METRICS`. Counts may be added up; percentiles are
read from merged histograms and never averaged; people are never added up at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from wire.usage import HISTOGRAM_BOUNDS_S

Unit = Literal["share", "count", "lines", "people", "tokens", "s"]
Triple = tuple[float | None, float | None, float | None]
"""Value, numerator, denominator."""


@dataclass(frozen=True)
class People:
    """Distinct people of one window; a part of one to four people is withheld (None)."""

    active: int
    with_requests: int | None
    with_events: int | None


@dataclass(frozen=True)
class Measures:
    """The counts of one selection of rows, added up; the names are those of `wire.usage`."""

    requests: int = 0
    failed: int = 0
    """Requests with an error of any type."""
    requests_expected: int = 0
    requests_decided: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    ttft_buckets: tuple[int, ...] = ()
    duration_buckets: tuple[int, ...] = ()
    changes_shown: int = 0
    changes_decided: int = 0
    changes_offered: int = 0
    changes_accepted: int = 0
    lines_suggested: int = 0
    lines_accepted: int = 0
    changes_reviewed: int = 0
    not_applied_rejected: int = 0
    not_applied_dismissed: int = 0
    not_applied_lapsed: int = 0
    lines_applied_user: int = 0
    lines_applied_auto_approved: int = 0
    lines_applied_autonomous: int = 0
    lines_undone: int = 0
    people: People | None = None

    @property
    def not_applied(self) -> int:
        return self.not_applied_rejected + self.not_applied_dismissed + self.not_applied_lapsed

    @property
    def gross(self) -> int:
        return (
            self.lines_applied_user
            + self.lines_applied_auto_approved
            + self.lines_applied_autonomous
        )


@dataclass(frozen=True)
class Metric:
    """One figure: its name, its words and its rule."""

    key: str
    label: str
    unit: Unit
    formula: str
    compute: Callable[[Measures], Triple]


def share(numerator: float | None, denominator: float | None) -> Triple:
    """Return a share with both parts; without a denominator there is no share, not zero."""
    if numerator is None or not denominator:
        return None, numerator, denominator
    return numerator / denominator, numerator, denominator


def count(value: float | None) -> Triple:
    """Return a plain count: its own numerator."""
    return value, value, None


def percentile(buckets: Sequence[int], p: float) -> float | None:
    """Return a percentile in seconds from a merged histogram, None when it is empty.

    The value of rank ceil(p * n), placed linearly inside its bucket. Above the last bound nothing
    is known but that bound, which is returned.
    """
    total = sum(buckets)
    if total == 0:
        return None
    rank = math.ceil(p * total)
    below = 0
    lower = 0.0
    for bound, number in zip(HISTOGRAM_BOUNDS_S, buckets, strict=False):
        if number and below + number >= rank:
            return lower + (bound - lower) * (rank - below) / number
        below += number
        lower = bound
    return lower


def _percentiles(measure: str, label: str) -> tuple[Metric, ...]:
    def of(p: float) -> Callable[[Measures], Triple]:
        def compute(m: Measures) -> Triple:
            buckets: tuple[int, ...] = getattr(m, f"{measure}_buckets")
            return percentile(buckets, p), None, sum(buckets)

        return compute

    return tuple(
        Metric(
            f"{measure}_p{round(p * 100)}",
            f"{label}, p{round(p * 100)}",
            "s",
            f"value of rank ceil({p:g} * n) of the merged histogram, linear inside its bucket "
            "(bounds 0.01 ... 81.92 s); denominator: n",
            of(p),
        )
        for p in (0.5, 0.95, 0.99)
    )


METRICS: Final[tuple[Metric, ...]] = (
    Metric(
        "acceptance_rate",
        "Acceptance rate (changes)",
        "share",
        "changes decided accepted or partial / changes shown (visible at least 750 ms unless the "
        "boundary says otherwise); completions and chat blocks, never agent edits",
        lambda m: share(m.changes_accepted, m.changes_offered),
    ),
    Metric(
        "acceptance_rate_lines",
        "Acceptance rate (lines)",
        "share",
        "lines accepted / lines suggested, over the same changes as the acceptance rate by changes",
        lambda m: share(m.lines_accepted, m.lines_suggested),
    ),
    Metric(
        "changes_reviewed_not_applied",
        "Reviewed, not applied",
        "count",
        "changes shown and reviewed, decided rejected, dismissed, superseded or expired, and not "
        "applied within 24 h; reviewed: decided by an act, opened, or visible for at least "
        "max(750, 50 * lines) ms",
        lambda m: count(m.not_applied),
    ),
    Metric(
        "changes_reviewed_not_applied_rejected",
        "Reviewed, not applied: rejected",
        "count",
        "of the reviewed and not applied, those decided rejected",
        lambda m: count(m.not_applied_rejected),
    ),
    Metric(
        "changes_reviewed_not_applied_dismissed",
        "Reviewed, not applied: dismissed",
        "count",
        "of the reviewed and not applied, those decided dismissed",
        lambda m: count(m.not_applied_dismissed),
    ),
    Metric(
        "changes_reviewed_not_applied_lapsed",
        "Reviewed, not applied: superseded or expired",
        "count",
        "of the reviewed and not applied, those decided superseded or expired",
        lambda m: count(m.not_applied_lapsed),
    ),
    Metric(
        "reviewed_not_applied_rate",
        "Reviewed, not applied (rate)",
        "share",
        "changes reviewed and not applied / changes shown and reviewed",
        lambda m: share(m.not_applied, m.changes_reviewed),
    ),
    Metric(
        "lines_applied_gross",
        "Lines applied, gross",
        "lines",
        "lines added + lines deleted by applied changes",
        lambda m: count(m.gross),
    ),
    Metric(
        "lines_applied_user",
        "Lines applied by people",
        "lines",
        "of the lines applied, those a person applied",
        lambda m: count(m.lines_applied_user),
    ),
    Metric(
        "lines_applied_auto_approved",
        "Lines applied under a standing approval",
        "lines",
        "of the lines applied, those applied under a standing approval",
        lambda m: count(m.lines_applied_auto_approved),
    ),
    Metric(
        "lines_applied_autonomous",
        "Lines applied by agents",
        "lines",
        "of the lines applied, those an agent applied on its own",
        lambda m: count(m.lines_applied_autonomous),
    ),
    Metric(
        "lines_applied_net",
        "Lines applied, net",
        "lines",
        "lines applied, gross - lines undone within 10 min",
        lambda m: count(m.gross - m.lines_undone),
    ),
    Metric(
        "active_users",
        "Active users",
        "people",
        "distinct people with a request or a reported event over the full window of 1, 7 or 28 "
        "days; not the sum over days or groups; withheld below five",
        lambda m: count(m.people.active if m.people else None),
    ),
    Metric(
        "requests",
        "Requests",
        "count",
        "requests accepted by the gateway",
        lambda m: count(m.requests),
    ),
    Metric(
        "tokens_input",
        "Tokens in",
        "tokens",
        "sum of the input tokens",
        lambda m: count(m.input_tokens),
    ),
    Metric(
        "tokens_output",
        "Tokens out",
        "tokens",
        "sum of the output tokens, reasoning included",
        lambda m: count(m.output_tokens),
    ),
    *_percentiles("ttft", "Time to first byte"),
    *_percentiles("duration", "Duration"),
    Metric(
        "error_rate",
        "Error rate",
        "share",
        "requests that did not end well, of any type / requests",
        lambda m: share(m.failed, m.requests),
    ),
    Metric(
        "telemetry_coverage_people",
        "Telemetry coverage (people)",
        "share",
        "people with a request whose client reported an event / people with a request, over the "
        "window of the active users",
        lambda m: share(
            m.people.with_events if m.people else None,
            m.people.with_requests if m.people else None,
        ),
    ),
    Metric(
        "telemetry_coverage_requests",
        "Telemetry coverage (requests)",
        "share",
        "requests whose change was decided / answered requests of completions and chat blocks",
        lambda m: share(m.requests_decided, m.requests_expected),
    ),
)
