from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.edge.contract import Digest, Needs
from edgefleet.errors import Refused
from edgefleet.fleet.cohorts import order
from edgefleet.fleet.inventory import Inventory
from edgefleet.fleet.needs import Package
from edgefleet.fleet.plan import Plan, make_plan, outdated, plan_hash
from tests.fleet.fleets import NOW, WANT, WAS, fleet, offline, pin, plan, release, spec, view


def names(made: Plan) -> dict[str, int]:
    return {wave.name: len(wave.changes) for wave in made.waves}


def test_forty_nodes_are_five_canaries_three_waves_and_a_holdback() -> None:
    made = plan(fleet())
    assert names(made) == {"canary": 5, "wave-1": 8, "wave-2": 7, "wave-3": 15, "holdback": 5}
    drawn = order(fleet().nodes, "inspect/2")
    assert list(drawn) == [change.node for wave in made.waves for change in wave.changes]


@given(st.integers(6, 120), st.floats(0.01, 1), st.integers(1, 5), st.sampled_from([None, WAS]))
def test_every_eligible_node_is_in_exactly_one_wave(
    count: int, holdback: float, least: int, champion: Digest | None
) -> None:
    made = plan(
        fleet(count),
        champion=champion,
        canary={"min_nodes": least},
        waves={"holdback": holdback, "shares": [0.3, 0.6]},
    )
    planned = Counter(change.node for wave in made.waves for change in wave.changes)
    assert planned == Counter(made.eligible)
    assert made.waves[0].name == "canary"
    assert ("holdback" in names(made)) <= (champion is not None)
    assert names(made).get("holdback", 0) <= count / 3


def test_a_first_release_has_no_holdback_and_its_canary_may_be_the_whole_fleet() -> None:
    made = plan(fleet(3, digest=None), champion=None)
    assert made.first
    assert names(made) == {"canary": 3}
    assert {change.was for change in made.waves[0].changes} == {None}


def test_nodes_out_of_reach_are_deferred_and_those_that_serve_it_are_current() -> None:
    changed = {
        "n00": offline(view("n00", "f0")),
        "n01": replace(view("n01", "f1"), hold_reason="audit until Friday"),
        "n02": view("n02", "f2", WANT),
        "n03": replace(view("n03", "f3"), disk_free_mb=2),
        "n04": replace(view("n04", "f0"), free=Needs(memory_mb=3, cpu_millis=4000)),
    }
    found = {out.node: (out.kind, out.reason) for out in plan(fleet(40, changed)).left_out}
    assert found == {
        "n00": ("deferred", "offline"),
        "n01": ("deferred", "held: audit until Friday"),
        "n02": ("current", "serves it already"),
        "n03": ("excluded", "2 MB of disk free, 4 MB needed"),
        "n04": (
            "excluded",
            "no room for the new server beside the old one: 3 MB of memory free, 256 needed",
        ),
    }


@given(st.sets(st.integers(0, 39), max_size=30), st.sets(st.integers(0, 39), max_size=3))
def test_a_pinned_node_is_in_no_wave_and_no_deferred_one(kept: set[int], away: set[int]) -> None:
    changed = {f"n{i:02d}": offline(view(f"n{i:02d}", f"f{i % 4}")) for i in away}
    pins = {f"n{i:02d}": pin() for i in kept}
    made = plan(fleet(40, changed), pins=pins)
    left = {out.node: (out.kind, out.reason) for out in made.left_out}
    told = "pinned to inspect-1 by Ada on 2026-01-01 12:00 UTC: the old camera"
    assert {node: out for node, out in left.items() if node in pins} == dict.fromkeys(
        pins, ("pinned", told)
    )
    assert left.keys() == pins.keys() | changed.keys()
    assert not pins.keys() & {*made.eligible, *(c.node for w in made.waves for c in w.changes)}


DEVICE = "nvidia.com/gpu"


def on_a_device(inventory: Inventory, **waves: object) -> Plan:
    """Return the plan of a package that needs a device of its own."""
    needs = Needs(memory_mb=300, devices={DEVICE: 1})
    package = Package(WANT, 3_000_000, needs)
    return make_plan(spec(waves=waves), release(), inventory, package, WAS, NOW)


def test_where_the_device_is_taken_the_model_is_swapped_in_place_or_the_node_left_out() -> None:
    taken = Needs(memory_mb=2000, cpu_millis=4000, devices={DEVICE: 0})
    views = {f"n{i:02d}": replace(view(f"n{i:02d}", f"f{i % 4}"), free=taken) for i in range(40)}
    swapping = {name: replace(one, swaps=True) for name, one in views.items() if name != "n07"}
    made = on_a_device(fleet(40, {**views, **swapping}))
    assert {out.node: out.reason for out in made.left_out} == {
        "n07": "no room for the new server beside the old one: 0 nvidia.com/gpu free, 1 needed"
    }
    assert all(change.swap for wave in made.waves for change in wave.changes)
    assert all(change.undo(2).swap for wave in made.waves for change in wave.changes)


def test_a_spec_may_insist_on_a_second_server_or_on_none() -> None:
    spare = Needs(memory_mb=2000, cpu_millis=4000, devices={DEVICE: 2})
    views = {f"n{i:02d}": replace(view(f"n{i:02d}", f"f{i % 4}"), free=spare) for i in range(40)}
    for update, swapped in (("surge", False), ("swap", True), ("auto", True)):
        made = on_a_device(fleet(40, views), update=update)
        assert {change.swap for wave in made.waves for change in wave.changes} == {swapped}


def test_a_silent_factory_is_deferred_as_a_whole_and_counts_as_an_average_one() -> None:
    one = replace(fleet(), silent={"f9": "timed out after 5 s"})
    left = plan(one).left_out
    assert [(out.node, out.kind) for out in left] == [("f9/*", "deferred")]
    assert left[0].reason == "its factory did not answer: timed out after 5 s"
    two = replace(fleet(), silent={"f8": "down", "f9": "down"})
    with pytest.raises(Refused, match="20 of 60 nodes are deferred, at most 20%"):
        plan(two)


def test_what_cannot_work_is_refused_with_the_numbers() -> None:
    cases: list[tuple[str, Inventory, dict[str, object]]] = [
        ("no node of 40 carries line=drill", fleet(), {"selector": {"line": "drill"}}),
        ("5 nodes can change, and a canary of 5 and one control need 6", fleet(5), {}),
        ("n77 cannot change now", fleet(), {"canary": {"nodes": ["n01", "n77"]}}),
        (
            "9 of 40 nodes are deferred, at most 20% may be",
            fleet(40, {f"n0{i}": offline(view(f"n0{i}", "f0")) for i in range(9)}),
            {},
        ),
    ]
    for problem, inventory, changes in cases:
        with pytest.raises(Refused, match=problem):
            plan(inventory, **changes)


def test_a_hand_picked_canary_is_taken_and_marked() -> None:
    made = plan(fleet(), canary={"nodes": ["n07", "n08"]})
    assert made.hand_picked
    assert [change.node for change in made.waves[0].changes] == ["n07", "n08"]


def test_a_plan_survives_json_and_its_hash_leaves_out_the_time() -> None:
    made = plan(fleet())
    again = msgspec.json.decode(msgspec.json.encode(made), type=Plan)
    assert made == again
    assert plan_hash(made) == plan_hash(replace(again, made_at=NOW + timedelta(hours=1)))
    assert plan_hash(made) != plan_hash(replace(made, model_bytes=1))


def test_a_later_plan_of_the_same_release_draws_the_same_canary() -> None:
    assert plan(fleet()).waves[0] == plan(fleet()).waves[0]


def test_a_plan_is_out_of_date_when_its_canary_moved_or_a_tenth_of_the_fleet_did() -> None:
    made = plan(fleet())
    assert outdated(made, fleet()) == ""
    canary, *_ = made.waves[0].changes
    gone = {canary.node: offline(view(canary.node, canary.factory))}
    assert outdated(made, fleet(40, gone)) == f"canary node {canary.node} is offline"
    others = [change for wave in made.waves[1:] for change in wave.changes]
    for count, stale in ((4, False), (5, True)):
        moved = {c.node: offline(view(c.node, c.factory)) for c in others[:count]}
        assert stale == bool(outdated(made, fleet(40, moved)))
    held = {canary.node: replace(view(canary.node, canary.factory), hold_reason="audit")}
    assert outdated(made, fleet(40, held)).endswith("is held: audit")
