"""Nodes whose clocks are minutes off: their windows bear other numbers than everybody else's."""

from __future__ import annotations

import pytest

from edgefleet.adapters.memory.faults import Fault, Kind
from edgefleet.fleet.release import Phase
from edgefleet.wiring import installed
from flows.release import release
from tests.scenarios.conftest import Build
from tests.scenarios.stories import changed, ended, package, serving, worse

OFF = [
    (Fault(Kind.CLOCK_AHEAD, share=0.3, value=200.0),),
    (Fault(Kind.CLOCK_BEHIND, share=0.3, value=200.0),),
    (
        Fault(Kind.CLOCK_AHEAD, share=0.2, value=90.0),
        Fault(Kind.CLOCK_BEHIND, count=9, value=400.0),
    ),
]
"""More nodes than may be missing before a window is looked at."""


@pytest.mark.parametrize("faults", OFF)
def test_a_good_version_reaches_every_node_whatever_their_clocks_say(
    build: Build, faults: tuple[Fault, ...]
) -> None:
    made = build()
    made.strike(faults)
    second = made.submit(2)
    with installed(made.world):
        release(second)
    assert ended(made, second) is Phase.RELEASED
    assert serving(made) == {package(second): 40}
    assert set(changed(made).values()) == {1}


@pytest.mark.parametrize("faults", OFF)
def test_a_bad_version_is_found_all_the_same(build: Build, faults: tuple[Fault, ...]) -> None:
    made = worse(build(), 0.80)
    made.strike(faults)
    second = made.submit(2)
    with installed(made.world):
        release(second)
    assert ended(made, second) is Phase.ROLLED_BACK
    assert package(second) not in serving(made)
