from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.fleet.cohorts import Member, canary_size, order, redraws
from edgefleet.spec import Canary

FLEETS = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from(["cpu", "gpu"])), min_size=1, max_size=60
).map(lambda places: tuple(Member(f"n{i}", f"f{f}", h) for i, (f, h) in enumerate(places)))


@given(FLEETS, st.text(max_size=10), st.randoms(use_true_random=False))
def test_the_order_holds_every_node_once_and_does_not_depend_on_how_they_are_listed(
    fleet: tuple[Member, ...], salt: str, chance: object
) -> None:
    first = order(fleet, salt)
    assert sorted(member.node for member in fleet) == sorted(first)
    shuffled = list(fleet)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert first == order(shuffled, salt)


@given(st.integers(1, 2000), st.floats(0.01, 1), st.floats(0.01, 1), st.integers(1, 20))
def test_a_larger_fraction_keeps_every_node_of_the_smaller(
    eligible: int, one: float, other: float, least: int
) -> None:
    sizes = [
        canary_size(eligible, Canary(fraction=share, min_nodes=least))
        for share in sorted((one, other))
    ]
    assert sizes == sorted(sizes)  # and cohorts are prefixes of one order
    assert all(min(least, eligible) <= size <= eligible for size in sizes)


@given(FLEETS, st.text(max_size=10))
def test_a_prefix_takes_from_every_stratum_before_it_takes_a_second_node_of_one(
    fleet: tuple[Member, ...], salt: str
) -> None:
    stratum = {member.node: (member.factory, member.hardware) for member in fleet}
    number = len(set(stratum.values()))
    assert set(stratum.values()) == {stratum[node] for node in order(fleet, salt)[:number]}


@given(FLEETS, st.text(max_size=10), st.integers(1, 3))
def test_no_prefix_takes_a_whole_line_while_there_are_other_nodes(
    fleet: tuple[Member, ...], salt: str, lines: int
) -> None:
    placed = tuple(m._replace(line=f"l{i % lines}") for i, m in enumerate(fleet))
    line = {member.node: (member.factory, member.line) for member in placed}
    drawn = order(placed, salt)
    sizes = Counter(line.values())
    others = drawn[: len(drawn) - len(sizes)]
    taken = Counter(line[node] for node in others)
    assert all(taken[which] == sizes[which] - 1 for which in sizes)
    assert all(
        max(Counter(line[placed[i].node] for i in draw)[which] - sizes[which] for which in sizes)
        < 0
        for draw in redraws(placed, len(others), salt, 5)
        if others
    )


@given(FLEETS, st.text(max_size=10))
def test_a_node_that_leaves_does_not_reorder_the_other_nodes_of_its_stratum(
    fleet: tuple[Member, ...], salt: str
) -> None:
    left = fleet[1:]
    for stratum in {(member.factory, member.hardware) for member in left}:
        mine = {m.node for m in left if (m.factory, m.hardware) == stratum}
        before = [node for node in order(fleet, salt) if node in mine]
        assert before == [node for node in order(left, salt) if node in mine]


@pytest.mark.parametrize(
    ("eligible", "fraction", "least", "expected"),
    [
        (200, 0.05, 5, 10),
        (201, 0.05, 5, 11),
        (40, 0.05, 5, 5),
        (20, 0.05, 1, 1),
        (3, 0.05, 5, 3),
        (0, 0.05, 5, 0),
    ],
)
def test_a_canary_is_a_share_rounded_up_and_at_least_the_minimum(
    eligible: int, fraction: float, least: int, expected: int
) -> None:
    assert expected == canary_size(eligible, Canary(fraction=fraction, min_nodes=least))


def test_redraws_are_as_likely_to_take_any_node_of_equal_strata_and_never_one_twice() -> None:
    fleet = tuple(Member(f"n{i}", f"f{i % 6}", f"h{i % 2}") for i in range(48))
    drawn = redraws(fleet, 5, "w/1", 4000)
    assert drawn.shape == (4000, 5)
    assert all(len(set(row)) == 5 for row in drawn)
    counts = Counter(drawn.ravel().tolist())
    expected, sd = 4000 * 5 / 48, np.sqrt(4000 * 5 / 48)
    assert all(abs(counts[i] - expected) < 5 * sd for i in range(48))


def test_redraws_follow_the_rule_of_the_order_and_repeat_with_its_salt() -> None:
    fleet = tuple(Member(f"n{i}", f"f{i % 6}") for i in range(30))
    drawn = redraws(fleet, 6, "w/1", 50)
    assert all({f"f{i}" for i in range(6)} == {fleet[i].factory for i in row} for row in drawn)
    assert (drawn == redraws(fleet, 6, "w/1", 50)).all()
    assert (drawn != redraws(fleet, 6, "w/2", 50)).any()
