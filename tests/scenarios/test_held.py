"""A release that nothing was shown of is held; a person looks on, goes on, or goes back."""

from __future__ import annotations

import pytest

from edgefleet.errors import Refused
from edgefleet.fleet.release import Phase
from edgefleet.rehearsal import Stage
from edgefleet.wiring import installed
from flows.looks import current_window
from flows.release import release
from flows.ruling import settle
from tests.scenarios.conftest import SPEC, Build

SHORT = SPEC.replace("max_windows: 30", "max_windows: 5").replace(
    "shadow_rate: 1.0", "shadow_rate: 0.2"
)


def held(build: Build) -> tuple[Stage, str]:
    """Given a canary that five windows could not show anything of."""
    made = build(spec=SHORT)
    name = made.submit(2)
    with installed(made.world):
        release(name)
    assert made.world.ledger.release(name).phase is Phase.HELD
    return made, name


def test_a_held_canary_is_looked_at_again_and_what_happened_meanwhile_counts(build: Build) -> None:
    made, name = held(build)
    with installed(made.world):
        made.world.clock.sleep(40 * made.spec.gates.window_s)
        waited = current_window(made.spec.gates)
        settle(name, "extend", "Ada", "the night shift had no labels", 0)
        release(name)
    ended = made.world.ledger.release(name)
    assert ended.phase is Phase.RELEASED, ended.reason
    looks = made.world.ledger.all(name, "look")
    assert len(looks) > 5
    stored = made.world.ledger.all(name, "reading")
    assert max(stored) >= waited
    assert any("extend by 5 windows, by Ada" in e.text for e in made.world.ledger.journal(name))


def test_an_override_takes_it_to_the_fleet_and_says_who_and_why(build: Build) -> None:
    made, name = held(build)
    with installed(made.world):
        settle(name, "override", "Ada", "checked by hand", 0)
        release(name)
        with pytest.raises(Refused, match="released"):
            settle(name, "override", "Ada", "again", 0)
    assert made.world.ledger.release(name).phase is Phase.RELEASED
    lines = [entry.text for entry in made.world.ledger.journal(name)]
    assert any("override, by Ada: checked by hand" in line for line in lines)


def test_going_back_brings_every_touched_node_back(build: Build) -> None:
    made, name = held(build)
    with installed(made.world):
        settle(name, "revert", "Ada", "", 0)
        release(name)
    assert made.world.ledger.release(name).phase is Phase.ROLLED_BACK
