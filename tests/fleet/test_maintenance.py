"""A factory is changed when its own clock says so, over midnight and when clocks change."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.calendars import DAYS, MaintenanceWindow
from edgefleet.errors import Refused
from edgefleet.fleet.maintenance import closes_at, is_open, opens_at, turns_at
from edgefleet.spec import parse_spec

BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = MaintenanceWindow(opens=time(22), closes=time(5), days=("fri",), timezone="Europe/Berlin")
LUNCH = MaintenanceWindow(opens=time(12), closes=time(13), factories=("south",))


def berlin(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN)


@pytest.mark.parametrize(
    ("at", "open_then"),
    [
        ("2026-01-09T21:59", False),  # a Friday
        ("2026-01-09T22:00", True),
        ("2026-01-10T04:59", True),
        ("2026-01-10T05:00", False),
        ("2026-01-10T23:00", False),
        ("2026-01-09T04:00", False),  # that night began on Thursday
    ],
)
def test_a_window_over_midnight_belongs_to_the_day_on_which_it_begins(
    at: str, *, open_then: bool
) -> None:
    assert is_open([NIGHT], "north", berlin(at)) is open_then


def test_no_window_is_always_open_and_a_window_concerns_the_factories_that_it_names() -> None:
    now = datetime(2026, 1, 9, 9, tzinfo=UTC)
    assert is_open([], "north", now)
    assert turns_at([], "north", now) is None
    assert is_open([LUNCH], "north", now)
    assert not is_open([LUNCH], "south", now)
    assert opens_at([LUNCH], "south", now) == now.replace(hour=12)
    assert closes_at([LUNCH], "south", now) is None
    assert closes_at([LUNCH], "south", now.replace(hour=12)) == now.replace(hour=13)


def test_windows_that_touch_are_one() -> None:
    more = MaintenanceWindow(opens=time(13), closes=time(15), factories=("south",))
    noon = datetime(2026, 1, 9, 12, 30, tzinfo=UTC)
    assert closes_at([LUNCH, more], "south", noon) == noon.replace(hour=15, minute=0)


def test_a_window_in_the_hour_that_summer_time_leaves_out_comes_a_week_later() -> None:
    gap = MaintenanceWindow(opens=time(2), closes=time(3), days=("sun",), timezone="Europe/Berlin")
    saturday = berlin("2026-03-28T12:00")
    assert opens_at([gap], "north", saturday) == berlin("2026-04-05T02:00")


def test_a_window_that_summer_time_cuts_ends_when_the_clock_jumps_over_its_end() -> None:
    cut = MaintenanceWindow(opens=time(1), closes=time(2, 30), timezone="Europe/Berlin")
    assert closes_at([cut], "north", berlin("2026-03-29T01:30")) == berlin("2026-03-29T03:00")


def test_an_hour_that_comes_twice_is_open_twice() -> None:
    twice = MaintenanceWindow(opens=time(2), closes=time(2, 30), timezone="Europe/Berlin")
    before = berlin("2026-10-25T01:00")
    opened = []
    moment = before
    for _ in range(4):
        turned = turns_at([twice], "north", moment)
        assert turned is not None
        opened.append(turned.astimezone(UTC).strftime("%H:%M"))
        moment = turned
    assert opened == ["00:00", "00:30", "01:00", "01:30"]


WINDOWS = st.lists(
    st.builds(
        MaintenanceWindow,
        days=st.sets(st.sampled_from(DAYS), min_size=1).map(tuple),
        opens=st.times().map(lambda t: t.replace(second=0, microsecond=0)),
        closes=st.times().map(lambda t: t.replace(second=0, microsecond=0)),
        timezone=st.sampled_from(
            ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"]
        ),
    ),
    min_size=1,
    max_size=3,
)
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
TIMES = st.integers(0, 366 * 24 * 3600).map(lambda s: NEW_YEAR + timedelta(seconds=s))


@given(windows=WINDOWS, now=TIMES, minutes=st.integers(0, 14 * 24 * 60))
def test_between_now_and_the_next_turn_nothing_turns(
    windows: list[MaintenanceWindow], now: datetime, minutes: int
) -> None:
    turn = turns_at(windows, "north", now)
    between = now + timedelta(minutes=minutes)
    if turn is not None:
        assert is_open(windows, "north", turn) != is_open(windows, "north", now)
        between = min(between, turn - timedelta(microseconds=1))
    assert is_open(windows, "north", max(between, now)) == is_open(windows, "north", now)


SPEC = "workload: w\nmodel: m\nselector: {line: camera}\nmaintenance:\n- "


def test_times_are_read_as_people_write_them_and_written_as_they_are_read() -> None:
    spec = parse_spec(f"{SPEC}{{opens: 22:00, closes: 05:30}}", "a test")
    (window,) = spec.maintenance
    assert (window.opens, window.closes) == (time(22), time(5, 30))
    again = parse_spec(spec.model_dump_json(), "a test")
    assert again == spec


def test_a_time_zone_that_is_none_is_refused_by_name() -> None:
    with pytest.raises(Refused, match="no time zone of this name"):
        parse_spec(f"{SPEC}{{opens: 22:00, closes: 05:00, timezone: Mars/Olympus}}", "a test")
