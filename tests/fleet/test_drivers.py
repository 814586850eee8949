"""A release that nobody drives gets a driver, and no other one does."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.fleet.drivers import (
    LONGEST_PAUSE_S,
    NO_LEASE,
    Lease,
    Run,
    RunState,
    decide,
    pause_s,
)
from edgefleet.fleet.release import LIVE, Phase, Release

NOW = datetime(2026, 1, 5, 6, tzinfo=UTC)
LEASE_S = 10.0
EARLIER = NOW - timedelta(hours=2)
RELEASE = Release("d-2", "d", "local", 2, "net", "2", Phase.SOAKING, EARLIER, EARLIER, "poll")
MOVED = replace(RELEASE, changed_at=NOW - timedelta(seconds=15))
HELD = replace(RELEASE, phase=Phase.HELD)
ASKED = replace(RELEASE, abort_asked="wrong version")

Do = Literal["leave", "start", "abort"]


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def runs(*states: tuple[RunState, float]) -> list[Run]:
    """Return runs, oldest first: the state of each, and for how many seconds it is in it."""
    return [
        Run(f"run-{number}", state, ago(age_s), ago(100_000 - number))
        for number, (state, age_s) in enumerate(states)
    ]


VALID = Lease("me", 3, ago(-5))
LATE = Lease("me", 3, ago(5))
LOST = Lease("me", 3, ago(11))
GIVEN_BACK = Lease("", 3, None)
RUNNING = (RunState.RUNNING, 4000.0)
DIED = (RunState.DIED, 30.0)
DONE = (RunState.COMPLETED, 30.0)


@pytest.mark.parametrize(
    ("release", "older", "lease", "history", "do", "why"),
    [
        (RELEASE, "", VALID, [RUNNING], "leave", "held by me"),
        (RELEASE, "", VALID, [DIED], "leave", "held by me"),
        (RELEASE, "d-1", LOST, [RUNNING], "leave", "waits for d-1"),
        (RELEASE, "", LATE, [RUNNING], "leave", "may be renewed"),
        (RELEASE, "", LATE, [DIED], "start", "died"),
        (RELEASE, "", LATE, [RUNNING, DIED], "leave", "may be renewed"),
        (RELEASE, "", LOST, [RUNNING], "start", "died with its worker"),
        (RELEASE, "", LOST, [(RunState.RUNNING, 60.0)], "start", "died with its worker"),
        (RELEASE, "", LOST, [(RunState.RUNNING, 20.0)], "leave", "just begun"),
        (MOVED, "", GIVEN_BACK, [(RunState.RUNNING, 20.0)], "start", "died with its worker"),
        (MOVED, "", GIVEN_BACK, [(RunState.RUNNING, 10.0)], "leave", "just begun"),
        (RELEASE, "", GIVEN_BACK, [RUNNING], "start", "died with its worker"),
        (RELEASE, "", GIVEN_BACK, [(RunState.RUNNING, 20.0)], "leave", "just begun"),
        (RELEASE, "", LOST, [DIED, (RunState.SCHEDULED, 9999.0)], "leave", "scheduled"),
        (RELEASE, "", LOST, [(RunState.PENDING, 20.0)], "leave", "about to begin"),
        (RELEASE, "", LOST, [(RunState.PENDING, 700.0)], "start", "never began"),
        (RELEASE, "", GIVEN_BACK, [(RunState.SUSPENDED, 90_000.0)], "leave", "asked"),
        (ASKED, "", GIVEN_BACK, [(RunState.SUSPENDED, 90_000.0)], "start", "wrong version"),
        (RELEASE, "", GIVEN_BACK, [DONE], "start", "its turn"),
        (RELEASE, "", GIVEN_BACK, [DIED], "start", "died"),
        (RELEASE, "", NO_LEASE, [], "start", "ever started"),
        (RELEASE, "", LOST, [(RunState.CANCELLED, 30.0)], "abort", "cancelled"),
        (ASKED, "", LOST, [(RunState.CANCELLED, 30.0)], "start", "wrong version"),
        (RELEASE, "", LOST, [(RunState.CANCELLED, 30.0), DIED], "start", "died"),
        (HELD, "", GIVEN_BACK, [DONE], "leave", "a person decides"),
        (HELD, "", LOST, [RUNNING], "leave", "a person decides"),
        (HELD, "", GIVEN_BACK, [(RunState.CANCELLED, 5.0)], "abort", "cancelled"),
        (replace(HELD, abort_asked="bad"), "", GIVEN_BACK, [DONE], "start", "bad"),
        (RELEASE, "", LOST, [DIED] * 3, "start", "died"),
        (RELEASE, "", LOST, [DIED] * 4, "leave", "4 drivers died one after the other: 30 s more"),
        (RELEASE, "", LOST, [*[DIED] * 4, DONE, DIED], "start", "died"),
    ],
)
def test_who_needs_a_driver(
    release: Release,
    older: str,
    lease: Lease,
    history: list[tuple[RunState, float]],
    do: Do,
    why: str,
) -> None:
    found = decide(release, older, lease, runs(*history), NOW, LEASE_S)
    assert (found.do, why in found.why) == (do, True), found


@pytest.mark.parametrize(
    ("lease", "history", "again_s"),
    [
        (VALID, [DIED], 5.0),
        (VALID, [DONE, DIED], 5.0),
        (VALID, [(RunState.CANCELLED, 30.0), DIED], 0.0),
        (VALID, [RUNNING], 0.0),
        (VALID, [DIED, RUNNING], 0.0),
        (LATE, [DIED], 0.0),
    ],
)
def test_a_driver_that_died_has_a_time_at_which_its_lease_runs_out(
    lease: Lease, history: list[tuple[RunState, float]], again_s: float
) -> None:
    assert decide(RELEASE, "", lease, runs(*history), NOW, LEASE_S).again_s == again_s
    assert decide(RELEASE, "d-1", lease, runs(*history), NOW, LEASE_S).again_s == 0


STATES = st.lists(
    st.tuples(st.sampled_from(RunState), st.floats(min_value=0, max_value=1e6)), max_size=6
)


@given(phase=st.sampled_from(LIVE), asked=st.sampled_from(["", "stop"]), history=STATES)
def test_nobody_is_sent_while_a_lease_is_valid_or_another_release_goes_first(
    phase: Phase, asked: str, history: list[tuple[RunState, float]]
) -> None:
    release = replace(RELEASE, phase=phase, abort_asked=asked)
    assert decide(release, "", VALID, runs(*history), NOW, LEASE_S).do == "leave"
    assert decide(release, "d-1", LOST, runs(*history), NOW, LEASE_S).do == "leave"


@given(phase=st.sampled_from([p for p in LIVE if p is not Phase.HELD]), history=STATES)
def test_every_release_that_no_run_is_left_of_gets_a_driver_within_the_longest_pause(
    phase: Phase, history: list[tuple[RunState, float]]
) -> None:
    over = [(state, age) for state, age in history if state in {RunState.DIED, RunState.COMPLETED}]
    release = replace(RELEASE, phase=phase)
    later = NOW + timedelta(seconds=LONGEST_PAUSE_S)
    assert decide(release, "", LOST, runs(*over), later, LEASE_S).do == "start"


def test_pauses_grow_to_an_hour() -> None:
    assert [pause_s(deaths) for deaths in (1, 3, 4, 5, 9, 10, 50)] == [
        0,
        0,
        60,
        120,
        1920,
        3600,
        3600,
    ]
