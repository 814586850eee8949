from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.fleet.approval import ApprovalRequest
from edgefleet.fleet.deadlines import REMIND_AT, Waiting, waits
from edgefleet.fleet.release import Phase, Release

AT = datetime(2026, 3, 1, 8, tzinfo=UTC)
ASKED = ApprovalRequest("abc", AT, AT + timedelta(hours=72))
OPEN = Waiting(AT, AT + timedelta(hours=10), "it goes back")


def release(phase: Phase) -> Release:
    return Release("line-1", "line", "local", 1, "m", "1", phase, AT, AT, "test")


@pytest.mark.parametrize("phase", Phase)
def test_who_waits_for_a_person_and_until_when(phase: Phase) -> None:
    found = waits(release(phase), ASKED, 24)
    ends = {
        Phase.AWAITING: ASKED.deadline,
        Phase.CONFIRMING: ASKED.deadline,
        Phase.HELD: AT + timedelta(hours=24),
    }
    assert (found and found.until) == ends.get(phase)


@pytest.mark.parametrize("phase", [Phase.AWAITING, Phase.CONFIRMING])
def test_where_nobody_was_asked_nobody_is_waited_for(phase: Phase) -> None:
    assert waits(release(phase), None, 24) is None


@pytest.mark.parametrize(
    ("hours", "reminders", "due"),
    [
        (4.9, 0, "nothing"),
        (5, 0, "reminder"),
        (5, 1, "nothing"),
        (8.9, 1, "nothing"),
        (9, 1, "reminder"),
        (9, 0, "reminder"),
        (9, 2, "nothing"),
        (10, 2, "end"),
        (30, 0, "end"),
    ],
)
def test_what_is_due(hours: float, reminders: int, due: str) -> None:
    assert OPEN.due(reminders, AT + timedelta(hours=hours)) == due


@given(st.lists(st.floats(0, 9.99), min_size=1))
def test_however_often_somebody_looks_the_reminders_are_few(looks: list[float]) -> None:
    sent = 0
    for hours in sorted(looks):
        sent += OPEN.due(sent, AT + timedelta(hours=hours)) == "reminder"
    assert sent <= len(REMIND_AT)


def test_the_words_say_how_long_and_what_then() -> None:
    assert OPEN.in_words(AT + timedelta(hours=5)) == (
        "nobody has decided for 5.0 h; at 2026-03-01 18:00 UTC it goes back"
    )
