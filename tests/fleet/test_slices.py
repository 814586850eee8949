from __future__ import annotations

from dataclasses import replace

import msgspec

from edgefleet.fleet.sheets import sheet_of
from edgefleet.fleet.slices import Slice, slices_of
from tests.fleet.simulated import FIRST, World, design, evidence, gates

WORLD = World(nodes=40, canary=8, factories=4, offline=0.0)
LAST = FIRST + 29


def found(world: World = WORLD) -> tuple[Slice, ...]:
    plan = design(world)
    return slices_of(plan, gates(), sheet_of(plan, evidence(world, plan), LAST))


def test_every_factory_and_class_of_the_canary_has_each_metric_with_its_nodes() -> None:
    slices, plan = found(), design(WORLD)
    chosen = [member for member in plan.nodes if member.node in plan.canary]
    assert {(one.by, one.name) for one in slices} == {
        ("canary", "as a whole"),
        *(("factory", member.factory) for member in chosen),
        *(("hardware", member.hardware) for member in chosen),
    }
    accuracy = [one for one in slices if one.by == "factory" and one.metric == "accuracy"]
    assert sum(one.nodes for one in accuracy) == len(chosen)
    assert {one.metric for one in slices} == {"accuracy", "p50", "p95", "p99", "errors", "presence"}


def test_a_slice_shows_what_is_worse_there_in_the_unit_of_the_verdict() -> None:
    for one in found(replace(WORLD, drop=0.3, slower=2.0, errors=0.1)):
        if one.metric == "accuracy":
            assert one.effect < -10
        if one.metric == "p50":
            assert one.effect > 60
        if one.metric == "errors":
            assert one.effect > 1  # bursts are capped


def test_one_factory_that_suffers_alone_stands_out() -> None:
    plan = design(WORLD)
    bad = next(member.factory for member in plan.nodes if member.node == plan.canary[0])
    factory = {member.node: member.factory for member in plan.nodes}
    seen = {
        node: tuple(
            msgspec.structs.replace(record, gains=0, losses=record.paired)
            if record.paired and factory[node] == bad
            else record
            for record in records
        )
        for node, records in evidence(WORLD, plan).items()
    }
    slices = slices_of(plan, gates(), sheet_of(plan, seen, LAST))
    accuracy = {one.name: one.effect for one in slices if one.metric == "accuracy"}
    assert accuracy.pop(bad) == -100
    assert all(accuracy[name] > -20 for name in accuracy if name.startswith("f"))


def test_old_and_new_are_compared_on_how_long_they_took_for_the_same_requests() -> None:
    plan = design(WORLD)
    seen = {
        node: tuple(
            msgspec.structs.replace(
                record, serving_us=1300 * record.shadowed, shadow_us=1000 * record.shadowed
            )
            for record in records
        )
        for node, records in evidence(WORLD, plan).items()
    }
    times = [
        one
        for one in slices_of(plan, gates(), sheet_of(plan, seen, LAST))
        if one.metric == "inference"
    ]
    assert {one.by for one in times} == {"canary", "factory", "hardware"}
    assert all(abs(one.effect - 30) < 1e-9 for one in times)
    shadowed = sum(
        record.shadowed
        for node in plan.canary
        for record in seen[node]
        if plan.first_window <= record.window <= LAST and record.warm
    )
    assert times[0].n == shadowed


def test_a_first_release_has_no_slices_and_a_canary_in_one_place_one() -> None:
    plan = design(WORLD)
    assert slices_of(replace(plan, was=None), gates(), sheet_of(plan, {}, LAST)) == ()
    alone = design(replace(WORLD, canary=1))
    assert {
        one.by for one in slices_of(alone, gates(), sheet_of(alone, evidence(WORLD, alone), LAST))
    } == {"canary"}
