"""Which registrations become releases: by a table, and by everything that may happen meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.fleet.release import TOUCHED, UNTOUCHED, Phase, Release
from edgefleet.fleet.trigger import Decided, decide, displaced, first_look
from edgefleet.spec import Newer, On

NOW = datetime(2026, 1, 5, 6, tzinfo=UTC)


@pytest.mark.parametrize(
    ("on", "asking", "answered", "past"),
    [
        ("tag", (), (), 0),
        ("tag", (1, 2, 3), (), 0),
        ("tag", (1, 2, 5), (3,), 3),
        ("any", (7,), (), 6),
        ("any", (), (), -1),
        ("alias", (2,), (5,), 0),
    ],
)
def test_what_is_past_when_a_workload_is_watched_for_the_first_time(
    on: On, asking: tuple[int, ...], answered: tuple[int, ...], past: int
) -> None:
    assert first_look(on, asking, answered) == past


@pytest.mark.parametrize(
    ("on", "newer", "asking", "answered", "past", "expected"),
    [
        ("tag", "queue", (), (), 0, Decided((), (), ())),
        ("tag", "queue", (5, 4, 6), (4,), 0, Decided((5, 6), (), ())),
        ("tag", "queue", (2, 6), (4,), 3, Decided((6,), (2,), ())),
        ("tag", "queue", (2,), (4,), 0, Decided((2,), (), ())),
        ("tag", "supersede", (5, 6, 7), (4,), 0, Decided((7,), (5, 6), ())),
        ("tag", "supersede", (3,), (4,), 0, Decided((), (3,), ())),
        ("any", "queue", (8, 9), (), 7, Decided((8, 9), (), ())),
        ("any", "supersede", (8, 9), (), 7, Decided((9,), (8,), ())),
        ("alias", "queue", (3,), (4,), 0, Decided((3,), (), ())),
        ("alias", "supersede", (3,), (4,), 0, Decided((3,), (), ())),
        ("alias", "supersede", (4,), (4,), 0, Decided((), (), ())),
    ],
)
def test_what_becomes_of_the_versions_that_ask(
    on: On,
    newer: Newer,
    asking: tuple[int, ...],
    answered: tuple[int, ...],
    past: int,
    expected: Decided,
) -> None:
    assert decide(on, newer, asking, answered, past, frozen=False) == expected


@pytest.mark.parametrize("newer", ["queue", "supersede"])
def test_a_freeze_admits_nothing_and_forgets_nothing(newer: Newer) -> None:
    found = decide("tag", newer, (2, 5, 6), (4,), 3, frozen=True)
    assert found == Decided((), (2,), (5, 6))
    assert decide("tag", newer, found.waiting, (4,), 3, frozen=False).admit[-1] == 6


@dataclass
class Registry:
    """Tags and a ledger, and a watch that may die after any of its writes."""

    newer: Newer
    count: int = 0
    asking: set[int] = field(default_factory=set)
    admitted: list[int] = field(default_factory=list)
    past: int | None = None
    budget: int = 0

    def register(self) -> None:
        self.count += 1
        self.asking.add(self.count)

    def alive(self) -> bool:
        self.budget -= 1
        return self.budget >= 0

    def watch(self, budget: int, *, frozen: bool) -> None:
        """Look once, and die after so many writes."""
        self.budget = budget
        asking = sorted(self.asking)
        if self.past is None:
            if not self.alive():
                return
            self.past = first_look("tag", asking, self.admitted)
        found = decide("tag", self.newer, asking, self.admitted, self.past, frozen=frozen)
        for version in found.admit:
            if not self.alive():
                return
            assert version not in self.admitted
            self.admitted.append(version)
        for version in asking:
            if version in found.waiting:
                continue
            if not self.alive():
                return
            self.asking.discard(version)


STEPS = st.lists(
    st.one_of(st.just("register"), st.tuples(st.integers(0, 6), st.booleans())), max_size=40
)


@given(STEPS, st.sampled_from(["queue", "supersede"]))
def test_none_is_lost_and_none_comes_twice_wherever_the_watch_dies(
    steps: list[str | tuple[int, bool]], newer: Newer
) -> None:
    registry = Registry(newer)
    for step in steps:
        match step:
            case (int(budget), bool(frozen)):
                registry.watch(budget, frozen=frozen)
            case _:
                registry.register()
    registry.watch(1000, frozen=False)
    assert registry.asking == set()
    assert registry.admitted == sorted(set(registry.admitted))
    if newer == "queue":
        assert registry.admitted == list(range(1, registry.count + 1))
    elif registry.count:
        assert registry.admitted[-1] == registry.count


def release(generation: int, phase: Phase, abort_asked: str = "") -> Release:
    return Release(
        f"w-{generation}", "w", "f", generation, "m", str(generation), phase, NOW, NOW, "watch",
        abort_asked=abort_asked,
    )  # fmt: skip


@pytest.mark.parametrize("phase", Phase)
def test_only_a_release_that_changes_no_node_gives_way(phase: Phase) -> None:
    found = displaced([release(2, Phase.QUALIFYING), release(1, phase)])
    assert found == (("w-1",) if phase in UNTOUCHED else ())
    assert not set(UNTOUCHED) & set(TOUCHED)


def test_the_newest_stays_and_nobody_is_asked_twice() -> None:
    queued = [release(3, Phase.QUALIFYING), release(2, Phase.QUALIFYING, "superseded by w-3")]
    assert displaced([*queued, release(1, Phase.ROLLING)]) == ()
    assert displaced([release(2, Phase.REFUSED), release(1, Phase.AWAITING)]) == ()
