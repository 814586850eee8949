"""How long a pull takes, by the limits that hold it back and by what was measured before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.edge.contract import Digest
from edgefleet.fleet.forecast import Bringing, Speed, forecast, last_start_s, speeds_of
from edgefleet.fleet.inventory import NodeView, Pull, PullState
from edgefleet.fleet.pacing import BURST, Bucket, pulls_to_start, take
from edgefleet.fleet.stage import Fate, NodeReport, StageReport
from edgefleet.spec import Prepull
from tests.fleet.fleets import fleet, plan

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
DIGEST = Digest("sha256:" + "c" * 64)
PACE = Prepull(nodes_at_once=2, starts_per_min=30)  # one each 2 s


@pytest.mark.parametrize(
    ("nodes", "wan_s", "each_s", "last_s"),
    [
        (1, 90, 9, 0),
        (2, 0, 0, 2),
        (7, 0, 0, 12),
        (2, 90, 9, 90),
        (7, 1, 1, 12),
        (7, 90, 0, 100),
        (3, 90, 9, 92),
        (4, 90, 9, 99),
        (7, 90, 9, 110),
    ],
)
def test_the_last_start_waits_for_the_bucket_the_wan_and_a_free_place(
    nodes: int, wan_s: float, each_s: float, last_s: float
) -> None:
    assert last_start_s(nodes, PACE, wan_s, each_s) == last_s


@given(
    nodes=st.integers(1, 12),
    at_once=st.integers(1, 5),
    interval_s=st.sampled_from([1, 2, 5, 12]),
    wan_s=st.integers(1, 40),
    each_s=st.integers(1, 40),
)
def test_it_is_when_a_factory_that_looks_every_second_begins_with_its_last_node(
    nodes: int, at_once: int, interval_s: int, wan_s: int, each_s: int
) -> None:
    pace = Prepull(nodes_at_once=at_once, starts_per_min=60 / interval_s)
    names = [f"n{number}" for number in range(nodes)]
    begun: dict[str, int] = {}
    bucket, second = Bucket(BURST, NOON), -1
    while len(begun) < nodes:
        second += 1
        now = NOON + timedelta(seconds=second)
        views = [_seen(name, names[0], begun, second, wan_s, each_s) for name in names]
        wanted = [name for name in names if name not in begun]
        for node, _ in pulls_to_start(views, wanted, DIGEST, at_once):
            bucket, taken = take(bucket, pace.starts_per_min, BURST, now)
            if not taken:
                break
            begun[node] = second
    assert max(begun.values()) == pytest.approx(last_start_s(nodes, pace, wan_s, each_s))


def _seen(
    name: str, first: str, begun: dict[str, int], second: int, wan_s: int, each_s: int
) -> NodeView:
    pulls: tuple[Pull, ...] = ()
    if name in begun:
        done = second >= begun[name] + (wan_s if name == first else each_s)
        pulls = (Pull(DIGEST, PullState.PRESENT if done else PullState.PULLING),)
    return NodeView(name, "f", {}, online=True, serving=None, ordered=None, pulls=pulls)


def _node(source: str, size: int, seconds: float, fate: Fate = Fate.DONE) -> NodeReport:
    return NodeReport("n", "north", fate, "", size, seconds, source)


@pytest.mark.parametrize(
    ("nodes", "speed"),
    [
        ((), None),
        ((_node("none", 0, 1.0),), None),
        ((_node("mirror", 900, 1.0),), None),
        ((_node("wan", 900, 0.0),), None),
        ((_node("wan", 0, 3.0),), None),
        ((_node("wan", 900, 3.0, Fate.FAILED),), None),
        ((_node("wan", 89, 3.0),), None),
        ((_node("wan", 90, 3.0),), Speed("r-2", 30.0, None)),
        ((_node("wan", 900, 3.0),), Speed("r-2", 300.0, None)),
        ((_node("wan", 900, 3.0), _node("wan", 900, 6.0)), Speed("r-2", 200.0, None)),
        (
            (
                _node("wan", 900, 3.0),
                _node("mirror", 900, 1.0),
                _node("mirror", 900, 9.0),
                _node("mirror", 900, 2.0),
                _node("mirror", 900, 0.0),
            ),
            Speed("r-2", 300.0, 450.0),
        ),
    ],
)
def test_a_factory_s_speed_is_that_of_the_pulls_that_were_timed(
    nodes: tuple[NodeReport, ...], speed: Speed | None
) -> None:
    found = speeds_of([("r-2", [StageReport("north", "prepull", nodes)])], 900)
    assert found == ({} if speed is None else {"north": speed})


def test_the_newest_release_that_crossed_a_factory_s_wan_says_how_quick_it_is() -> None:
    def report(factory: str, source: str, seconds: float) -> StageReport:
        return StageReport(factory, "prepull", (_node(source, 900, seconds),))

    pulls = [
        ("r-3", [report("north", "mirror", 1.0)]),
        ("r-2", [report("north", "wan", 9.0)]),
        ("r-1", [report("north", "wan", 1.0), report("south", "wan", 3.0)]),
    ]
    assert speeds_of(pulls, 900) == {
        "north": Speed("r-2", 100.0, None),
        "south": Speed("r-1", 300.0, None),
    }


def test_a_factory_that_is_not_known_counts_by_its_limits_alone() -> None:
    made = plan(fleet(12))
    (one, *_), factories = sorted(made.nodes_of.items()), sorted(made.nodes_of)
    name, nodes = one
    speeds = {name: Speed("r-2", made.model_bytes / 90, made.model_bytes / 9)}
    known, *others = forecast(made, PACE, speeds).factories
    last_s = last_start_s(len(nodes), PACE, 90, 9)
    assert known == Bringing(
        name, len(nodes), pytest.approx(last_s), pytest.approx(last_s + 9), pytest.approx(90), "r-2"
    )
    assert [other.factory for other in others] == factories[1:]
    assert {(other.wan_s, other.measured_in) for other in others} == {(None, "")}
    sizes = [len(made.nodes_of[other.factory]) for other in others]
    assert [other.last_s for other in others] == [2.0 * (size - 1) for size in sizes]


@pytest.mark.parametrize(
    ("timeout_s", "each_s", "late"), [(899, 0, True), (2000, 0, False), (2000, 2000, True)]
)
def test_a_factory_whose_last_node_would_not_have_it_in_time_is_named(
    timeout_s: float, each_s: float, *, late: bool
) -> None:
    made = plan(fleet(12))
    name = min(made.nodes_of)
    pace = Prepull(timeout_s=timeout_s)
    within = made.model_bytes / each_s if each_s else None
    found = forecast(made, pace, {name: Speed("r-2", made.model_bytes / 900, within)})
    assert found.late == ((name,) if late else ())
