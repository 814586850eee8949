"""Given a wave after the canary, when its nodes do badly or say nothing, then no other follows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from edgefleet.adapters.memory.faults import Fault, Kind
from edgefleet.adapters.memory.kill import watched
from edgefleet.adapters.memory.telemetry import MemoryTelemetry, Quality
from edgefleet.fleet.finding import Outcome, Verdict
from edgefleet.fleet.plan import Plan
from edgefleet.fleet.release import Phase
from edgefleet.rehearsal import Stage
from edgefleet.wiring import installed
from flows.release import release
from flows.ruling import settle
from tasks.records import Drive, champion_of
from tests.scenarios.conftest import SPEC, Build
from tests.scenarios.reaper import Reaper, driven
from tests.scenarios.stories import ended, package, serving

LOOKED_AT = SPEC.replace("windows: 1", "windows: 2").replace("max_windows: 30", "max_windows: 12")


@dataclass
class AtTheFirstWave:
    """Strikes once: before the first reading that is taken while waves are changed."""

    made: Stage
    release_id: str
    strike: Callable[[], None]
    struck: bool = False

    def __call__(self, when: str, name: str) -> None:
        if self.struck or (when, name) != ("before", "MemoryTelemetry.collect"):
            return
        if ended(self.made, self.release_id) is Phase.ROLLING:
            self.struck = True
            self.strike()

    def over(self) -> Stage:
        """Return the stage with this eye on its telemetry."""
        telemetry = watched(self.made.world.telemetry, self)
        return replace(self.made, world=replace(self.made.world, telemetry=telemetry))


def slow_from_the_first_wave_on(made: Stage, release_id: str) -> AtTheFirstWave:
    def strike() -> None:
        telemetry = made.world.telemetry
        assert isinstance(telemetry, MemoryTelemetry)
        telemetry.qualities = {package(release_id): Quality(latency_factor=5.0)}

    return AtTheFirstWave(made, release_id, strike)


def silent_from_the_first_wave_on(made: Stage, release_id: str, for_s: float) -> AtTheFirstWave:
    def strike() -> None:
        nodes = nodes_of(release_id, 1)
        made.fleet.strike(Fault(Kind.OFFLINE, nodes=nodes, at_s=made.fleet.now_s, for_s=for_s))

    return AtTheFirstWave(made, release_id, strike)


def nodes_of(release_id: str, wave: int) -> tuple[str, ...]:
    plan = Drive(release_id, 0).latest("plan", Plan)
    assert plan is not None
    return tuple(change.node for change in plan.waves[wave].changes)


def lines(made: Stage, release_id: str, of: str) -> list[str]:
    said = [entry.text for entry in made.world.ledger.journal(release_id)]
    return [text for text in said if text.startswith(of)]


def test_what_the_looks_at_a_wave_found_is_told(build: Build) -> None:
    made = build(spec=LOOKED_AT)
    second = made.submit(2)
    release(second)
    assert ended(made, second) is Phase.RELEASED
    [line] = lines(made, second, "wave-1")
    assert "PASS at window 2: p99, errors" in line


def test_a_version_that_is_slow_from_the_first_wave_on_goes_back_everywhere(build: Build) -> None:
    made = build(spec=LOOKED_AT)
    second = made.submit(2)
    with installed(slow_from_the_first_wave_on(made, second).over().world):
        release(second)
    assert ended(made, second) is Phase.ROLLED_BACK
    [line] = lines(made, second, "rolling failed: wave-1: FAIL at window")
    assert "p99" in line
    champion = champion_of(made.spec.workload)
    assert champion is not None
    assert serving(made) == Counter({champion.digest: 40})
    had_it = {moved.node for moved in made.fleet.transitions() if moved.after == package(second)}
    assert had_it == {*nodes_of(second, 0), *nodes_of(second, 1)}


@pytest.mark.parametrize("decided", ["override", "extend"])
def test_a_wave_that_says_nothing_is_held_and_a_person_takes_it_on(
    build: Build, decided: str
) -> None:
    made = build(spec=LOOKED_AT)
    second = made.submit(2)
    eye = silent_from_the_first_wave_on(made, second, 20 * made.spec.gates.window_s)
    with installed(eye.over().world):
        release(second)
    held = made.world.ledger.release(second)
    assert held.phase is Phase.HELD, held.reason
    assert "wave-1: only " in held.reason
    assert "changed nodes were heard of (min_node_share 60%) in 12 windows" in held.reason
    assert not {m.node for m in made.fleet.transitions() if m.after == package(second)} & set(
        nodes_of(second, 2)
    )
    made.world.clock.sleep(20 * made.spec.gates.window_s)
    settle(second, decided, "Ada", "the switch is mended", 0)
    release(second)
    assert ended(made, second) is Phase.RELEASED
    [line] = lines(made, second, "wave-1: ")
    assert ("not judged: overridden" if decided == "override" else "PASS at window 2") in line


def test_a_wave_that_failed_goes_back_though_its_driver_was_killed_before_it_could_act(
    build: Build,
) -> None:
    made = build(spec=LOOKED_AT)
    second = made.submit(2)
    eye = slow_from_the_first_wave_on(made, second)
    reaper = Reaper(
        {(("before", "SqlLedger.move"), 1)},
        armed=lambda: ended(made, second) is Phase.ROLLING,
    )
    assert driven(eye.over(), second, reaper) == 2
    assert eye.struck
    assert ended(made, second) is Phase.ROLLED_BACK
    looks = Drive(second, 0).recall_all("wave look", Verdict)
    assert [look.outcome for look in looks.values()].count(Outcome.FAIL) == 1
