"""A driver that is killed at chosen calls of its ports, and the next ones that go on.

A dead driver calls nothing any more, and does not give its lease back. What a release promises
whatever dies is read afterwards from the world: from its nodes, its ledger, its registry.
"""

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from edgefleet.adapters.memory.kill import watched
from edgefleet.edge.contract import Digest
from edgefleet.errors import Fenced, Unreachable
from edgefleet.rehearsal import Stage
from edgefleet.wiring import World, installed
from flows.release import release
from tests.scenarios.conftest import SPEC

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
Point = tuple[Call, int]
"""The n-th time that a call is made, from 1."""


class Killed(BaseException):
    """What SIGKILL looks like from inside: nothing of ours handles it."""


@dataclass
class Reaper:
    """Kills the driver of the day once at each of its points: the n-th time that a call is made."""

    points: set[Point] = field(default_factory=set)
    spares: bool = False
    """The driver lives, and only the call gets no answer."""
    armed: Callable[[], bool] = lambda: True
    """Says whether calls count; to kill in one phase only."""
    calls: Counter[Call] = field(default_factory=Counter)
    killed_at: list[Point] = field(default_factory=list)
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
                    if self.spares:
                        raise Unreachable(f"nobody heard: {when} {name}")
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
