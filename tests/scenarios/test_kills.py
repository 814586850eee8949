"""Given a driver that is killed before or after any call, when others go on, then nothing is lost.

The points are generated: each call of a port or of the ledger that an undisturbed release makes,
before it (the call never comes) and after it (it holds, but nobody was told), the first time and
some later time. All hit one release, one after the other; test_crashes.py has one for each.
"""

import random
from collections import Counter
from collections.abc import Callable

import pytest

from edgefleet.fleet.finding import Outcome
from edgefleet.fleet.release import Phase
from edgefleet.rehearsal import Stage
from edgefleet.wiring import installed
from flows.release import release
from flows.soak import Look
from tasks.records import Drive
from tests.scenarios.conftest import Build
from tests.scenarios.reaper import (
    IDLE,
    NODES,
    SMALL,
    Call,
    Killed,
    Point,
    Reaper,
    changes,
    driven,
    moves,
    waves,
)
from tests.scenarios.stories import package, serving, worse

pytestmark = pytest.mark.timeout(900)
"""Some ninety drivers one after the other, on a machine that may do much else."""


def points_of(calls: Counter[Call], seed: int) -> set[Point]:
    """Return each call's first time, and a later one among the first half: there are so many."""
    draw = random.Random(seed)  # noqa: S311 - it has to be the same every time
    points = {(call, 1) for call in calls}
    for call in sorted(calls):
        if call[1] not in IDLE and calls[call] > 1:
            points.add((call, draw.randint(2, max(2, calls[call] // 2))))
    return points


def told(calls: Counter[Call], killed_at: list[Point]) -> str:
    """Return the table of what was covered."""
    lines = ["calls  killed at   call"]
    for call in sorted(calls, key=lambda call: (call[1], call[0])):
        times = ", ".join(f"#{time}" for point, time in killed_at if point == call)
        lines.append(f"{calls[call]:>5}  {times or '-':<10}  {call[0]} {call[1]}")
    return "\n".join(lines)


def test_a_release_survives_a_kill_before_and_after_each_kind_of_call(build: Build) -> None:
    undisturbed = build(nodes=NODES, spec=SMALL)
    usual = Reaper()
    first = undisturbed.submit(2)
    assert driven(undisturbed, first, usual) == 1

    made = build(nodes=NODES, spec=SMALL)
    second = made.submit(2)
    reaper = Reaper(points_of(usual.calls, seed=1))
    drivers = driven(made, second, reaper)

    print(told(usual.calls, reaper.killed_at))  # noqa: T201 - shown when the test fails, or by -s
    assert reaper.points == set(reaper.killed_at)
    assert len(usual.calls) == len({call for call, _ in reaper.killed_at})
    assert drivers == len(reaper.points) + 1
    assert made.world.ledger.release(second).phase is Phase.RELEASED
    assert moves(made, second) == moves(undisturbed, first)
    assert waves(made, second) == waves(undisturbed, first) != set()
    assert serving(made) == Counter({package(second): NODES})
    assert set(changes(made, package(second)).values()) == {1}
    looks = Drive(second, 0).recall_all("look", Look)
    assert list(looks) == list(range(1, len(looks) + 1))
    (version,) = (v for v in made.world.models.versions(made.spec.model) if v.version == "2")
    assert version.tags["edgefleet.state"] == Phase.RELEASED
    assert version.aliases == ("champion",)


def test_a_way_back_survives_a_kill_before_and_after_each_kind_of_call(build: Build) -> None:
    def reverting(at: Stage, release_id: str) -> Callable[[], bool]:
        return lambda: at.world.ledger.release(release_id).phase is Phase.REVERTING

    undisturbed = worse(build(nodes=NODES, spec=SMALL), accuracy=0.5)
    first = undisturbed.submit(2)
    usual = Reaper(armed=reverting(undisturbed, first))
    assert driven(undisturbed, first, usual) == 1

    made = worse(build(nodes=NODES, spec=SMALL), accuracy=0.5)
    second = made.submit(2)
    reaper = Reaper({(call, 1) for call in usual.calls}, armed=reverting(made, second))
    driven(made, second, reaper)

    print(told(usual.calls, reaper.killed_at))  # noqa: T201 - as above
    assert reaper.points == set(reaper.killed_at)
    assert {call for _, call in usual.calls} >= {"MemorySite.apply", "MemorySite.shadow"}
    assert made.world.ledger.release(second).phase is Phase.ROLLED_BACK
    assert moves(made, second) == moves(undisturbed, first)
    (champion,) = serving(made)
    assert champion != package(second)
    had_it = changes(made, package(second))
    assert set(had_it.values()) == {1}
    assert champion is not None
    assert changes(made, champion) == Counter(dict.fromkeys(made.fleet.nodes, 1)) + had_it


def test_a_verdict_that_was_written_down_is_acted_on_by_whoever_comes_next(build: Build) -> None:
    made = build(nodes=NODES, spec=SMALL)
    second = made.submit(2)
    ledger = made.world.ledger
    reaper = Reaper(
        {(("before", "SqlLedger.move"), 1)},
        armed=lambda: ledger.release(second).phase is Phase.SOAKING,
    )
    looks: list[int] = []
    with installed(reaper.over(made.world)):
        while ledger.release(second).live:
            reaper.birth()
            try:
                release(second)
            except Killed:
                looks.append(len(ledger.all(second, "look")))
    written = Drive(second, 0).recall_all("look", Look)
    assert looks == [len(written)]
    assert written[looks[0]].verdict.outcome is Outcome.PASS
