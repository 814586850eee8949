from __future__ import annotations

from itertools import product

import pytest

from edgefleet.errors import Conflict
from edgefleet.fleet.release import ENDS, LIVE, NEXT, TOUCHED, UNTOUCHED, Phase, Signal, advance


@pytest.mark.parametrize(("phase", "signal"), list(product(Phase, Signal)))
def test_every_pair_of_phase_and_signal_leads_somewhere_or_is_refused_in_words(
    phase: Phase, signal: Signal
) -> None:
    if (phase, signal) in NEXT:
        assert isinstance(advance(phase, signal), Phase)
        assert phase not in ENDS
    else:
        with pytest.raises(Conflict, match=f"phase {phase}: signal {signal} means nothing here"):
            advance(phase, signal)


def test_every_phase_is_an_end_or_live_and_live_ones_are_touched_untouched_or_on_the_way_back() -> (
    None
):
    assert set(Phase) == ENDS | set(LIVE)
    assert set(LIVE) == {*UNTOUCHED, *TOUCHED, Phase.REVERTING}
    assert not set(UNTOUCHED) & set(TOUCHED)


def test_an_abort_is_accepted_in_every_live_phase_and_converges() -> None:
    for phase in LIVE:
        expected = Phase.ABORTED if phase in UNTOUCHED else Phase.REVERTING
        assert expected == advance(phase, Signal.ABORT)


def test_every_live_phase_is_reached_from_the_first_and_reaches_an_end() -> None:
    reached = {Phase.QUALIFYING}
    while grown := {NEXT[p, s] for p, s in NEXT if p in reached} - reached:
        reached |= grown
    assert set(Phase) == reached
    ending = set(ENDS)
    while grown := {p for (p, _), after in NEXT.items() if after in ending} - ending:
        ending |= grown
    assert set(Phase) == ending


def test_nothing_that_touched_a_node_ends_as_if_it_had_not() -> None:
    unhurt = {Phase.ABORTED, Phase.REJECTED, Phase.REFUSED}
    for (phase, _), after in NEXT.items():
        if phase in TOUCHED or phase is Phase.REVERTING:
            assert after not in unhurt


def test_no_pair_is_written_twice() -> None:
    # A comprehension that overwrote a pair would leave fewer than were written.
    written = 22 + 2 * len(UNTOUCHED) + len(TOUCHED)
    assert written == len(NEXT)
