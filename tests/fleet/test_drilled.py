"""What a drill says of a node, from its windows; what is missing never passes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.edge.contract import Evidence
from edgefleet.fleet.drilled import judged
from edgefleet.fleet.finding import Outcome
from edgefleet.fleet.inventory import Serving
from edgefleet.fleet.unplugged import Cut, Drilled, arrived, last_due
from tests.fleet.fleets import NOW, WANT, WAS

WINDOW_S = 2.0
SERVING = Serving(WAS, ready=True, self_check_passed=True, boot="b1", url="http://n1:80")
CUT = Cut(
    node="n1",
    factory="linz",
    seconds=10,
    read_at=NOW,
    cut_at=NOW,
    seen_away=True,
    back_at=NOW + timedelta(seconds=10),
    waited_s=0.5,
    before=SERVING,
    after=SERVING,
)
LAST = 107
"""The reading before gave windows up to 100; in 10 s five close, and two more are wanted."""

Windows = tuple[Evidence, ...]
Doing = Callable[[Windows], Windows]


def windows(first: int, last: int, ok: int = 8, boot: str = "b1", failed: int = 0) -> Windows:
    return tuple(
        Evidence(window=w, digest=WAS, boot=boot, ok=ok, server_errors=failed)
        for w in range(first, last + 1)
    )


PAST = windows(71, 100)
LATER = windows(96, LAST)


def drilled(later: Windows = LATER, past: Windows = PAST, **seen: object) -> Drilled:
    return judged(replace(CUT, **seen), past, later, WINDOW_S)


def without(*numbers: int) -> Windows:
    return tuple(record for record in LATER if record.window not in numbers)


def instead(*records: Evidence) -> Windows:
    return (*without(*(record.window for record in records)), *records)


def test_a_node_that_answered_all_the_time_passes_with_its_numbers() -> None:
    assert drilled() == Drilled(
        node="n1",
        factory="linz",
        seconds=10,
        served=56,
        failed=0,
        gaps=0,
        restarted=0,
        recreated=False,
        windows_late=5,
        verdict=Outcome.PASS,
        text="answered 56 requests in 7 windows, none failed; 5 of them closed while it was cut "
        "off, and all arrived",
    )


@pytest.mark.parametrize(
    ("found", "verdict", "words"),
    [
        (drilled(seen_away=False), Outcome.INCONCLUSIVE, "never seen offline"),
        (drilled(back_at=None, after=None, waited_s=60.0), Outcome.FAIL, "not back 60 s after"),
        (drilled(back_at=NOW + timedelta(seconds=3)), Outcome.INCONCLUSIVE, "1 windows of 2 s"),
        (
            drilled(windows(96, LAST + 20), back_at=NOW + timedelta(seconds=50)),
            Outcome.PASS,
            "; 5 of them closed while",
        ),
        (drilled(past=PAST[-2:]), Outcome.INCONCLUSIVE, "2 warm windows before"),
        (drilled(past=()), Outcome.INCONCLUSIVE, "0 warm windows before"),
        (drilled(later=()), Outcome.INCONCLUSIVE, "no window of 101 to 107"),
        (drilled(later=windows(96, 104)), Outcome.INCONCLUSIVE, "windows up to 104 only"),
        (drilled(without(103, 104)), Outcome.FAIL, "2 windows never arrived .* (103, 104)"),
        (drilled(instead(*windows(103, 103, 1))), Outcome.FAIL, "1 windows with a gap: 1 answers"),
        (drilled(instead(*windows(103, 103, 0))), Outcome.FAIL, "at least 8 in each of 30 before"),
        (
            drilled(windows(96, LAST, 0), windows(71, 100, 0)),
            Outcome.INCONCLUSIVE,
            "its cameras sent nothing",
        ),
        (
            drilled(instead(*windows(103, 103, 0)), (*windows(71, 71, 0), *PAST[1:])),
            Outcome.INCONCLUSIVE,
            "1 of 7 windows without a request",
        ),
        (drilled(instead(*windows(104, LAST, 8, "b2"))), Outcome.FAIL, "started anew 1 times"),
        (drilled(after=replace(SERVING, boot="b2")), Outcome.FAIL, "started anew 1 times"),
        (drilled(after=replace(SERVING, url="http://n1:81")), Outcome.FAIL, "n1:81.*recreated"),
        (drilled(after=None), Outcome.FAIL, "serves nothing since its return"),
        (drilled(before=None), Outcome.INCONCLUSIVE, "nobody saw"),
        (drilled(after=replace(SERVING, digest=WANT)), Outcome.INCONCLUSIVE, "changed it"),
        (drilled(instead(*windows(103, 103, 8, failed=3))), Outcome.FAIL, "3 of 59 .* 0 of 240"),
        (drilled(instead(*windows(103, 103, 8, failed=1))), Outcome.INCONCLUSIVE, "chance"),
        (
            drilled(instead(*windows(103, 103, 8, failed=1)), windows(71, 100, 8, failed=1)),
            Outcome.PASS,
            "1 failed, as many as usual",
        ),
    ],
)
def test_the_verdict_and_its_words(found: Drilled, verdict: Outcome, words: str) -> None:
    assert found.verdict is verdict, found.text
    parts = words.split(".*")
    assert all(part.strip() in found.text for part in parts), found.text


def test_a_failure_is_told_before_what_could_not_be_shown() -> None:
    found = drilled(past=PAST[-2:], after=replace(SERVING, boot="b2"))
    assert (found.verdict, found.text) == (Outcome.FAIL, "its server was started anew 1 times")


def test_a_clock_that_is_wrong_on_the_node_changes_nothing() -> None:
    def shifted(records: Windows) -> Windows:
        return tuple(
            Evidence(window=r.window - 90, digest=r.digest, boot=r.boot, ok=r.ok) for r in records
        )

    assert drilled(shifted(LATER), shifted(PAST)) == drilled()


def test_windows_are_waited_for_until_two_more_have_come() -> None:
    assert last_due(CUT, PAST, WINDOW_S) == LAST
    assert not arrived(CUT, PAST, windows(96, LAST - 1), WINDOW_S)
    assert arrived(CUT, PAST, LATER, WINDOW_S)
    assert arrived(replace(CUT, back_at=None), PAST, (), WINDOW_S)


@given(
    gone=st.sets(st.integers(96, LAST), min_size=1),
    past=st.integers(0, 30),
    away_s=st.integers(0, 10),
)
def test_what_is_missing_never_passes(gone: set[int], past: int, away_s: int) -> None:
    found = drilled(without(*gone), PAST[30 - past :], back_at=NOW + timedelta(seconds=away_s))
    needed = set(range(101, 101 + away_s // 2 + 3 - (away_s % 2 == 0)))
    if gone & needed or past < 3 or away_s < 4:
        assert found.verdict is not Outcome.PASS
    else:
        assert found.verdict is Outcome.PASS
