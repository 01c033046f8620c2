"""When weekly windows are open: over midnight, over changes of the clock, over each other."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.domains.windows.calendar import DAYS, Weekly, standing

BERLIN = ZoneInfo("Europe/Berlin")


def weekly(days: str, starts: str, hours: float, zone: ZoneInfo = BERLIN) -> Weekly:
    return Weekly(
        frozenset(days.split(",")), time.fromisoformat(starts), timedelta(hours=hours), zone
    )


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def test_without_windows_it_is_always_open() -> None:
    found = standing([], at("2026-11-24T12:00Z"))
    assert (found.is_open, found.until) == (True, None)


@pytest.mark.parametrize(
    ("moment", "is_open", "until"),
    [
        ("2026-11-27T20:59Z", False, "2026-11-27T21:00Z"),  # Friday 21:59 in Berlin
        ("2026-11-27T21:00Z", True, "2026-11-28T03:00Z"),
        ("2026-11-28T02:59Z", True, "2026-11-28T03:00Z"),  # over midnight
        ("2026-11-28T03:00Z", False, "2026-12-04T21:00Z"),
    ],
)
def test_a_window_over_midnight(moment: str, is_open: bool, until: str) -> None:
    found = standing([weekly("fri", "22:00", 6)], at(moment))
    assert (found.is_open, found.until) == (is_open, at(until))


def test_a_start_that_the_clock_leaves_out_comes_an_hour_later() -> None:
    # On 29 March 2026 clocks in Berlin go from 02:00 to 03:00: 02:30 there is 01:30 UTC.
    window = [weekly("sun", "02:30", 1)]
    assert not standing(window, at("2026-03-29T01:29Z")).is_open
    found = standing(window, at("2026-03-29T01:30Z"))
    assert (found.is_open, found.until) == (True, at("2026-03-29T02:30Z"))


def test_an_hour_stays_an_hour_when_the_clock_goes_back() -> None:
    # On 25 October 2026 the hour from 02:00 comes twice: the first one is 00:00 UTC.
    found = standing([weekly("sun", "02:00", 1)], at("2026-10-25T00:00Z"))
    assert (found.is_open, found.until) == (True, at("2026-10-25T01:00Z"))
    assert not standing([weekly("sun", "02:00", 1)], at("2026-10-25T01:00Z")).is_open


def test_windows_that_touch_are_one() -> None:
    windows = [weekly("mon", "08:00", 2), weekly("mon", "10:00", 2), weekly("mon", "11:00", 3)]
    found = standing(windows, at("2026-11-23T07:30Z"))
    assert (found.is_open, found.until) == (True, at("2026-11-23T13:00Z"))


WINDOWS = st.builds(
    Weekly,
    st.frozensets(st.sampled_from(DAYS), min_size=1),
    st.times().map(lambda t: t.replace(second=0, microsecond=0)),
    st.integers(15, 10080).map(lambda minutes: timedelta(minutes=minutes)),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Pacific/Kiritimati"]).map(
        ZoneInfo
    ),
)
MOMENTS = st.integers(0, 2 * 365 * 24 * 60).map(
    lambda minutes: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
)


@given(st.lists(WINDOWS, min_size=1, max_size=4), MOMENTS)
def test_until_is_when_it_changes_and_not_before(windows: list[Weekly], moment: datetime) -> None:
    found = standing(windows, moment)
    if found.until is None:
        return
    assert found.until > moment
    just_before = max(moment, found.until - timedelta(seconds=1))
    assert standing(windows, just_before).is_open is found.is_open
    # Windows that fill the whole week never close; what ends is how far anybody looked.
    if found.until - moment < timedelta(days=7):
        assert standing(windows, found.until).is_open is not found.is_open


@given(st.lists(WINDOWS, min_size=1, max_size=4), MOMENTS)
def test_it_is_open_exactly_when_one_of_the_windows_is(
    windows: list[Weekly], moment: datetime
) -> None:
    assert standing(windows, moment).is_open is any(
        standing([window], moment).is_open for window in windows
    )
