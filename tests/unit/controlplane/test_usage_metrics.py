"""The formulae against cases computed by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.domains.usage.metrics import METRICS, Measures, People, percentile
from wire.usage import BUCKETS, HISTOGRAM_BOUNDS_S, bucket_index

EXAMPLE = Measures(
    requests=200,
    failed=7,
    requests_expected=120,
    requests_decided=90,
    input_tokens=50_000,
    output_tokens=8_000,
    changes_shown=110,
    changes_decided=100,
    changes_offered=100,
    changes_accepted=31,
    lines_suggested=640,
    lines_accepted=160,
    changes_reviewed=80,
    not_applied_rejected=20,
    not_applied_dismissed=15,
    not_applied_lapsed=5,
    lines_applied_user=300,
    lines_applied_auto_approved=50,
    lines_applied_autonomous=150,
    lines_undone=44,
    people=People(active=25, with_requests=24, with_events=18),
)
BY_KEY = {metric.key: metric for metric in METRICS}


@pytest.mark.parametrize(
    ("key", "value", "numerator", "denominator"),
    [
        ("acceptance_rate", 0.31, 31, 100),
        ("acceptance_rate_lines", 0.25, 160, 640),
        ("changes_reviewed_not_applied", 40, 40, None),
        ("changes_reviewed_not_applied_rejected", 20, 20, None),
        ("changes_reviewed_not_applied_dismissed", 15, 15, None),
        ("changes_reviewed_not_applied_lapsed", 5, 5, None),
        ("reviewed_not_applied_rate", 0.5, 40, 80),
        ("lines_applied_gross", 500, 500, None),
        ("lines_applied_user", 300, 300, None),
        ("lines_applied_auto_approved", 50, 50, None),
        ("lines_applied_autonomous", 150, 150, None),
        ("lines_applied_net", 456, 456, None),
        ("active_users", 25, 25, None),
        ("requests", 200, 200, None),
        ("tokens_input", 50_000, 50_000, None),
        ("tokens_output", 8_000, 8_000, None),
        ("error_rate", 0.035, 7, 200),
        ("telemetry_coverage_people", 0.75, 18, 24),
        ("telemetry_coverage_requests", 0.75, 90, 120),
    ],
)
def test_a_formula_gives_what_was_computed_by_hand(
    key: str, value: float, numerator: float, denominator: float | None
) -> None:
    shown = BY_KEY[key].compute(EXAMPLE)
    assert shown[0] == pytest.approx(value)
    assert shown[1:] == (numerator, denominator)


def test_without_a_denominator_there_is_no_share_and_no_percentile() -> None:
    shown = {key: metric.compute(Measures()) for key, metric in BY_KEY.items()}
    absent = {key for key, triple in shown.items() if triple[0] is None}
    assert absent == {
        *("acceptance_rate", "acceptance_rate_lines", "reviewed_not_applied_rate", "error_rate"),
        *("active_users", "telemetry_coverage_people", "telemetry_coverage_requests"),
        *(f"{each}_p{p}" for each in ("ttft", "duration") for p in (50, 95, 99)),
    }
    assert all(triple[0] == 0 for key, triple in shown.items() if key not in absent)


def histogram(*seconds: float) -> tuple[int, ...]:
    buckets = [0] * BUCKETS
    for each in seconds:
        buckets[bucket_index(each)] += 1
    return tuple(buckets)


@pytest.mark.parametrize(
    ("seconds", "p", "expected"),
    [
        ((0.005,) * 4, 0.5, 0.005),
        # Four in (0.02, 0.04]: the second of them lies halfway.
        ((0.03,) * 4, 0.5, 0.03),
        ((0.03,) * 4, 0.99, 0.04),
        # Ninety-nine fast and one slow: only the hundredth is slow.
        ((0.005,) * 99 + (1.0,), 0.99, 0.01),
        ((0.005,) * 98 + (1.0, 1.0), 0.99, 0.96),
        # Beyond the last bound nothing is known but the bound.
        ((100.0,) * 3, 0.5, 81.92),
    ],
)
def test_a_percentile_is_read_from_the_merged_histogram(
    seconds: tuple[float, ...], p: float, expected: float
) -> None:
    assert percentile(histogram(*seconds), p) == pytest.approx(expected)


@given(st.lists(st.floats(0, 81.92), min_size=1, max_size=60), st.sampled_from((0.5, 0.95, 0.99)))
def test_a_percentile_lies_in_the_bucket_of_the_value_of_that_rank(
    seconds: list[float], p: float
) -> None:
    found = percentile(histogram(*seconds), p)
    true = sorted(seconds)[-(-int(p * 100) * len(seconds) // 100) - 1]
    assert found is not None
    index = bucket_index(true)
    lower = HISTOGRAM_BOUNDS_S[index - 1] if index else 0.0
    assert lower <= found <= HISTOGRAM_BOUNDS_S[index] + 1e-9


def test_percentiles_of_two_merged_rows_are_not_their_average() -> None:
    fast, slow = histogram(*(0.005,) * 99), histogram(10.0)
    merged = tuple(a + b for a, b in zip(fast, slow, strict=True))
    measures = replace(EXAMPLE, ttft_buckets=merged)
    value, _, n = BY_KEY["ttft_p95"].compute(measures)
    assert n == 100
    assert value is not None
    assert value <= 0.01
