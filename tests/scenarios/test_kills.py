"""Given a driver that is killed before or after any call, when others go on, then nothing is lost.

The points are generated: each call of a port or of the ledger that an undisturbed release makes,
before it (the call never comes) and after it (it holds, but nobody was told), the first time and
some later time. A dead driver calls nothing any more, and does not give its lease back.
"""

import random
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from edgefleet.adapters.memory.kill import watched
from edgefleet.edge.contract import Digest
from edgefleet.errors import Fenced
from edgefleet.fleet.finding import Outcome
from edgefleet.fleet.release import Phase
from edgefleet.rehearsal import Stage
from edgefleet.wiring import World, installed
from flows.release import release
from flows.soak import Look
from tasks.records import Drive
from tests.scenarios.conftest import SPEC, Build
from tests.scenarios.stories import package, serving, worse

pytestmark = pytest.mark.timeout(900)
"""Some ninety drivers one after the other, on a machine that may do much else."""

SMALL = (
    SPEC.replace("min_windows: 4", "min_windows: 2")
    .replace("margin_pt: 3", "margin_pt: 10")
    .replace("margin_pct: 50", "margin_pct: 100")
)
NODES = 16
LEASE_S = 0.2
MOST_DRIVERS = 150
IDLE = frozenset({"SqlLedger.renew", "SqlLedger.leave"})
"""Calls of the lease: how often they come is the wall clock's business."""

Call = tuple[str, str]
"""When (before or after), and the call's name."""


class Killed(BaseException):
    """What SIGKILL looks like from inside: nothing of ours handles it."""


@dataclass
class Reaper:
    """Kills the driver of the day once at each of its points: the n-th time that a call is made."""

    points: set[tuple[Call, int]] = field(default_factory=set)
    armed: Callable[[], bool] = lambda: True
    """Says whether calls count; to kill in one phase only."""
    calls: Counter[Call] = field(default_factory=Counter)
    killed_at: list[tuple[Call, int]] = field(default_factory=list)
    _dead: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def birth(self) -> None:
        self._dead = False

    def __call__(self, when: str, name: str) -> None:
        with self._lock:
            if not self._dead and self.armed():
                call = (when, name)
                self.calls[call] += 1
                point = call, self.calls[call]
                if point in self.points and point not in self.killed_at:
                    self.killed_at.append(point)
                    self._dead = True
            if not self._dead:
                return
        if name.endswith(".renew"):
            raise Fenced("the thread that renews the lease dies with the process, in silence")
        raise Killed(f"{when} {name}")

    def over(self, world: World) -> World:
        """Return the world with its every call under the reaper's eyes."""
        return replace(
            world,
            lease_s=LEASE_S,
            clock=watched(world.clock, self),
            ledger=watched(world.ledger, self),
            images=watched(world.images, self),
            models=watched(world.models, self),
            telemetry=watched(world.telemetry, self),
            sites={name: watched(site, self) for name, site in world.sites.items()},
        )


def driven(made: Stage, release_id: str, reaper: Reaper) -> int:
    """Drive a release by one driver after the other until one of them lives; return how many."""
    with installed(reaper.over(made.world)):
        for drivers in range(1, MOST_DRIVERS):
            reaper.birth()
            try:
                release(release_id)
            except Killed:
                continue
            return drivers
    message = f"{release_id}: not ended after {MOST_DRIVERS} drivers, {reaper.killed_at[-5:]}"
    raise AssertionError(message)


def moves(made: Stage, release_id: str) -> list[str]:
    """Return how the phases followed one another."""
    phases = [entry.phase for entry in made.world.ledger.journal(release_id)]
    return [now for now, before in zip(phases, ["", *phases], strict=False) if now != before]


def waves(made: Stage, release_id: str) -> set[str]:
    """Return what the journal tells of each wave after the canary."""
    journal = made.world.ledger.journal(release_id)
    return {entry.text for entry in journal if entry.text.startswith(("wave-", "holdback"))}


def changes(made: Stage, digest: Digest) -> Counter[str]:
    """Return how often each node went over to a package."""
    return Counter(moved.node for moved in made.fleet.transitions() if moved.after == digest)


def points_of(calls: Counter[Call], seed: int) -> set[tuple[Call, int]]:
    """Return each call's first time, and a later one among the first half: there are so many."""
    draw = random.Random(seed)  # noqa: S311 - it has to be the same every time
    points = {(call, 1) for call in calls}
    for call in sorted(calls):
        if call[1] not in IDLE and calls[call] > 1:
            points.add((call, draw.randint(2, max(2, calls[call] // 2))))
    return points


def told(calls: Counter[Call], killed_at: list[tuple[Call, int]]) -> str:
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
    reaper = Reaper({(call, 1) for call in usual.calls}, reverting(made, second))
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
        lambda: ledger.release(second).phase is Phase.SOAKING,
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
