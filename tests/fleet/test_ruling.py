from __future__ import annotations

from dataclasses import replace

import pytest

from edgefleet.errors import Refused
from edgefleet.fleet.release import NEXT, Phase
from edgefleet.fleet.ruling import SIGNALS, Ruling, most_windows, ruled
from tests.fleet.fleets import NOW, release

HELD = replace(release(), phase=Phase.HELD)


def asked(decided: str = "extend", reason: str = "", windows: int = 0) -> Ruling:
    return Ruling(decided, "Ada", reason, windows, NOW)  # type: ignore[arg-type]


def test_an_extension_is_as_long_as_the_soak_unless_said_and_never_longer() -> None:
    assert ruled(HELD, asked(), 60).windows == 60
    assert ruled(HELD, asked(windows=20), 60).windows == 20
    with pytest.raises(Refused, match="70 more windows"):
        ruled(HELD, asked(windows=70), 60)


def test_an_override_needs_a_reason_and_grants_no_windows() -> None:
    with pytest.raises(Refused, match="reason"):
        ruled(HELD, asked("override"), 60)
    ruling = ruled(HELD, asked("override", "the line was changed on purpose"), 60)
    assert (ruling.windows, ruling.in_words) == (
        0,
        "override, by Ada: the line was changed on purpose",
    )


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.HELD])
def test_only_a_held_release_waits_for_a_decision(phase: Phase) -> None:
    with pytest.raises(Refused, match=f"it is {phase}"):
        ruled(replace(HELD, phase=phase), asked(), 60)


def test_every_decision_has_a_way_out_of_held() -> None:
    assert all((Phase.HELD, signal) in NEXT for signal in SIGNALS.values())


def test_windows_add_up_to_twice_the_soak_at_most() -> None:
    assert most_windows(60, {}) == 60
    assert most_windows(60, {1: asked(windows=20)}) == 80
    assert most_windows(60, {1: asked(windows=40), 2: asked(windows=60)}) == 120
