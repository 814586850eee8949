"""Given all nodes of a control plane silent at once, then the release waits: it is not the model.

Whoever is silent serves on; what the release must not do is to send the others back for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import pytest

from edgefleet.adapters.memory.faults import Fault, Kind
from edgefleet.adapters.memory.kill import watched
from edgefleet.errors import Unreachable
from edgefleet.fleet.release import Phase
from edgefleet.rehearsal import Stage
from edgefleet.wiring import installed
from flows.release import release
from tests.scenarios.conftest import SPEC, Build
from tests.scenarios.stories import changed, ended, package, serving

AWAY_S = 90.0


@dataclass
class Silence:
    """Strikes once: at the first order in a phase, or at its first look where it gives none."""

    made: Stage
    release_id: str
    phase: Phase
    kind: Kind = Kind.OFFLINE
    where: tuple[str, ...] = ()
    """Factories; none: all of them."""
    for_s: float = AWAY_S
    struck: list[float] = field(default_factory=list)

    def __call__(self, when: str, name: str) -> None:
        at = "MemoryTelemetry.collect" if self.phase is Phase.SOAKING else "MemorySite.apply"
        if self.struck or (when, name) != ("before", at):
            return
        if ended(self.made, self.release_id) is self.phase:
            fleet = self.made.fleet
            self.struck.append(fleet.now_s)
            where = self.where or fleet.factories
            fleet.strike(Fault(self.kind, nodes=where, at_s=fleet.now_s, for_s=self.for_s))


def driven(made: Stage, silence: Silence) -> None:
    sites = {name: watched(site, silence) for name, site in made.world.sites.items()}
    world = replace(made.world, sites=sites, telemetry=watched(made.world.telemetry, silence))
    with installed(world):
        release(silence.release_id)
    assert silence.struck


@pytest.mark.parametrize("phase", [Phase.CANARY, Phase.SOAKING, Phase.ROLLING])
def test_a_fleet_that_is_silent_all_at_once_is_waited_for(build: Build, phase: Phase) -> None:
    made = build()
    second = made.submit(2)
    driven(made, Silence(made, second, phase))
    assert ended(made, second) is Phase.RELEASED
    assert set(changed(made).values()) == {1}
    assert serving(made)[package(second)] >= 32  # at most max_deferred come later


def test_windows_in_which_all_are_silent_do_not_use_up_the_soak(build: Build) -> None:
    made = build(spec=SPEC.replace("max_windows: 30", "max_windows: 12"))
    second = made.submit(2)
    driven(made, Silence(made, second, Phase.SOAKING, for_s=12 * 60.0))
    assert ended(made, second) is Phase.RELEASED
    said = [entry.text for entry in made.world.ledger.journal(second)]
    assert any("none of the 40 nodes can be reached" in text for text in said)


def test_a_fleet_that_is_there_but_tells_nothing_is_held_for_a_person(build: Build) -> None:
    made = build(spec=SPEC.replace("max_windows: 30", "max_windows: 6"))
    second = made.submit(2)
    driven(made, Silence(made, second, Phase.SOAKING, Kind.SILENT, for_s=1e9))
    assert ended(made, second) is Phase.HELD


def released_not_hearing(made: Stage, then: Callable[[str], bool]) -> str:
    """Release version 2; the first look at each factory gets lost that comes at a chosen time."""
    second = made.submit(2)
    lost: list[str] = []

    def deaf_once(factory: str, when: str, name: str) -> None:
        asked = (when, name) == ("before", "MemorySite.snapshot") and factory not in lost
        if asked and then(second):
            lost.append(factory)
            raise Unreachable(factory)

    sites = {
        name: watched(site, partial(deaf_once, name)) for name, site in made.world.sites.items()
    }
    with installed(replace(made.world, sites=sites)):
        release(second)
    assert sorted(lost) == sorted(sites)
    return second


def test_a_factory_that_is_not_heard_once_after_the_yes_does_not_ask_again(build: Build) -> None:
    made = build()
    second = released_not_hearing(made, lambda name: ended(made, name) is Phase.AWAITING)
    assert ended(made, second) is Phase.RELEASED
    assert made.world.ledger.get(second, "approval", 2) is None


def test_a_factory_that_is_not_heard_once_at_the_end_is_not_late(build: Build) -> None:
    made = build()
    second = released_not_hearing(
        made, lambda name: made.world.ledger.journal(name)[-1].text.startswith("holdback")
    )
    assert ended(made, second) is Phase.RELEASED


@pytest.mark.parametrize("kind", [Kind.OFFLINE, Kind.SITE_DOWN])
@pytest.mark.parametrize("phase", [Phase.CANARY, Phase.ROLLING])
def test_a_factory_that_stays_silent_sends_nobody_back_and_a_quarter_is_too_much_to_leave_behind(
    build: Build, phase: Phase, kind: Kind
) -> None:
    made = build()
    second = made.submit(2)
    driven(made, Silence(made, second, phase, kind, ("factory-02",), for_s=1e9))
    current = made.world.ledger.release(second)
    assert current.phase is Phase.HELD
    assert "10 later: node-0011" in current.reason
    assert "more than 20% of the fleet" in current.reason
    assert set(changed(made).values()) == {1}
