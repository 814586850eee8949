"""Whom a drill takes, for how long, and how it is told."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.errors import Refused
from edgefleet.fleet.drill import (
    LONGEST_S,
    Course,
    Drill,
    courses,
    drawn,
    length_of,
    named,
    rounds,
)
from edgefleet.fleet.finding import Outcome
from edgefleet.fleet.inventory import NodeView
from edgefleet.fleet.unplugged import Drilled
from tests.fleet.fleets import NOW, WANT, WAS, fleet, offline, view

NODES = fleet(40).nodes


def of(node: str, factory: str, verdict: Outcome, text: str = "") -> Drilled:
    return Drilled(node, factory, 60, 100, 0, 0, 0, False, 30, verdict, text)


DRILL = Drill(
    3,
    "inspect",
    NOW,
    60,
    7,
    "anna",
    (of("n1", "f1", Outcome.PASS), of("n2", "f2", Outcome.FAIL, "its server was started anew")),
)


@given(st.integers(), st.integers(1, 40))
def test_one_node_of_each_factory_is_drawn_and_the_same_again(seed: int, count: int) -> None:
    nodes = fleet(count).nodes
    first = drawn(nodes, WAS, {}, seed)
    assert sorted({node.factory for node in nodes}) == [node.factory for node in first]
    assert first == drawn(tuple(reversed(nodes)), WAS, {}, seed)


def test_another_seed_draws_others() -> None:
    names = {tuple(n.node for n in drawn(NODES, WAS, {}, seed)) for seed in range(20)}
    assert len(names) > 10


LEFT_ALONE = [
    (offline(view("n01", "f1")), "offline"),
    (replace(view("n01", "f1"), hold_reason="audit"), "held: audit"),
    (view("n01", "f1", WANT), "not the champion"),
    (view("n01", "f1", None), "serves nothing"),
]


@pytest.mark.parametrize(("node", "why"), LEFT_ALONE)
def test_a_node_on_which_something_depends_is_never_taken(node: NodeView, why: str) -> None:
    nodes = (node, view("n02", "f2"))
    assert [taken.node for taken in drawn(nodes, WAS, {}, 1)] == ["n02"]
    with pytest.raises(Refused, match=why):
        named(["n01"], nodes, WAS, {})
    with pytest.raises(Refused, match=f"none of 1 nodes may take part .1 .*{why}"):
        drawn((node,), WAS, {}, 1)


def test_the_canary_of_a_release_to_come_is_never_taken() -> None:
    canary = {"n00": "inspect-4"}
    assert all(
        "n00" not in {node.node for node in drawn(NODES, WAS, canary, seed)} for seed in range(50)
    )
    with pytest.raises(Refused, match="in the canary of inspect-4"):
        named(["n00"], NODES, WAS, canary)


def test_named_nodes_are_taken_once_each_and_unknown_ones_refused() -> None:
    assert [node.node for node in named(["n03", "n01", "n03"], NODES, WAS, {})] == ["n03", "n01"]
    with pytest.raises(Refused, match="n99: is none of the workload's 40 nodes"):
        named(["n01", "n99"], NODES, WAS, {})


@given(st.sets(st.integers(0, 39)))
def test_never_two_nodes_of_a_factory_at_once_and_everybody_has_a_turn(numbers: set[int]) -> None:
    chosen = tuple(NODES[number] for number in sorted(numbers))
    turns = rounds(chosen)
    for turn in turns:
        assert len({node.factory for node in turn}) == len(turn) > 0
    assert sorted(node.node for turn in turns for node in turn) == [node.node for node in chosen]


@pytest.mark.parametrize(
    ("asked", "window_s", "seconds"),
    [(None, 2.0, 60), (None, 60.0, 120), (None, 45.5, 91), (5, 2.0, 5), (120, 60.0, 120)],
)
def test_a_drill_lasts_as_asked_or_for_two_windows(
    asked: int | None, window_s: float, seconds: int
) -> None:
    assert length_of(asked, window_s) == seconds


@pytest.mark.parametrize(
    ("asked", "window_s", "why"),
    [
        (4, 2.0, "at least 5 s"),
        (60, 60.0, "60 s hold no whole window of 60 s.*at least 120 s"),
        (LONGEST_S + 1, 2.0, "at most 3600 s"),
        (None, 2000.0, "at most 3600 s"),
    ],
)
def test_what_proves_nothing_or_lasts_too_long_is_refused(
    asked: int | None, window_s: float, why: str
) -> None:
    with pytest.raises(Refused, match=why):
        length_of(asked, window_s)


def test_a_drill_is_as_good_as_its_worst_node_and_says_why() -> None:
    assert DRILL.verdict is Outcome.FAIL
    assert DRILL.in_words == (
        "drill 3, 60 s, seed 7, agreed by anna: 2 nodes: 1 pass, 1 fail "
        "(n2 fail: its server was started anew)"
    )
    assert replace(DRILL, nodes=()).verdict is Outcome.INCONCLUSIVE


def test_the_trend_has_a_line_for_each_factory() -> None:
    assert courses(DRILL) == (
        Course(3, NOW, "f1", 60, 1, 0, 0, 100, 30),
        Course(3, NOW, "f2", 60, 0, 1, 0, 100, 30),
    )
