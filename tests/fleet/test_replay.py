"""What a fleet's own history says of a canary, against what its canaries then really show."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from edgefleet.errors import Refused
from edgefleet.fleet.balance import balance_of, balance_text
from edgefleet.fleet.book import Usual, usual_of
from edgefleet.fleet.impossible import refuse_impossible
from edgefleet.fleet.preflight import preflight
from edgefleet.fleet.replay import Detectable, replay_text, replayed
from edgefleet.fleet.verdict import Design, Outcome
from edgefleet.spec import AccuracyGate, Gates
from tests.fleet.simulated import FIRST, World, design, evidence, gates, soak

RULES = gates(shadow_rate=0.0, pre_windows=60)
"""Accuracy by nodes, as nothing is answered by both models."""


def found_in(world: World) -> dict[str, Detectable]:
    """Replay the world's windows before any change."""
    history = replace(world, pre=60)
    seen = evidence(history, design(history))
    return {one.metric: one for one in replayed(design(history), RULES, seen, FIRST - 1)}


def test_every_metric_that_nodes_are_compared_on_is_told_and_more_windows_find_less() -> None:
    found = found_in(World(nodes=60, canary=6))
    assert set(found) == {"p50", "p95", "p99", "errors", "accuracy", "presence"}
    for one in found.values():
        sizes = [size for _, size in one.drops]
        assert sizes[-1] <= sizes[0]
        assert sizes[-1] >= one.margin or one.metric == "presence", "a FAIL is beyond the margin"


def test_more_canary_nodes_find_smaller_drops() -> None:
    few, many = (found_in(World(nodes=90, canary=nodes)) for nodes in (4, 24))
    assert many["accuracy"].drops[0][1] < few["accuracy"].drops[0][1]


def test_what_is_said_to_be_found_with_80_percent_is_found_about_as_often() -> None:
    world = World(nodes=60, canary=8, windows=20, pre=60)
    said = dict(found_in(world)["p50"].drops)[20]
    rules = gates(shadow_rate=0.0, max_windows=60, pre_windows=60, alpha_pass=0.001)
    ends = [
        soak(replace(world, seed=seed, slower=1 + said / 100), rules, last=20).outcome
        for seed in range(2, 22)
    ]
    hits = sum(end is Outcome.FAIL for end in ends)
    assert hits >= 10, f"{hits} of {len(ends)} at {said:.0f} % slower"


def test_without_a_champion_or_a_history_nothing_is_promised() -> None:
    world = World()
    seen = evidence(world, design(world))
    assert replayed(replace(design(world), was=None), RULES, seen, FIRST - 1) == ()
    assert replayed(design(world), RULES, {}, FIRST - 1) == ()
    assert replay_text((), RULES) == ""


def test_a_margin_that_chance_alone_exceeds_is_warned_of_before_anybody_approves() -> None:
    wide = Detectable("p99", "%", 15.0, ((5, 60.0), (30, 40.0)), None)
    kept = Detectable("errors", "pt", 0.3, ((5, 1.0), (30, 0.4)), 15)
    found = preflight(Gates(), 5, 20, (wide, kept))
    assert any("for p99 chance alone" in warning for warning in found.warnings)
    assert "| p99 | 60 % | 40 % | 15 % | > 30 |" in found.text
    assert "| errors | 1 pt | 0.4 pt | 0.3 pt | 15 |" in found.text
    assert found == msgspec.json.decode(msgspec.json.encode(found), type=type(found))


def test_what_is_usual_is_counted_from_the_first_window_that_is_known() -> None:
    young = World(nodes=12, canary=3, offline=0.0, pre=4, requests=50)
    seen = {n: r[:4] for n, r in evidence(young, design(young)).items()}
    usual = usual_of(seen, [*seen, "one that never answered"])
    assert usual.requests == pytest.approx(50 * 12 / 13, rel=0.1)
    assert usual_of({}, ["n1"]) == Usual(0.0, 0.0)


def drawn(nodes: int, canary: int) -> Design:
    return design(World(nodes=nodes, canary=canary, factories=1))


@pytest.mark.parametrize(
    ("rules", "size", "usual", "said"),
    [
        (Gates(max_windows=30), (40, 1), Usual(1, 100), "30 in 30 windows, below min_labels 50"),
        (
            Gates(accuracy=AccuracyGate(margin_pt=0.5), max_windows=30),
            (40, 1),
            Usual(2, 10),
            "cannot show a margin of 0.5 pt in 30 windows: even without any disagreement it needs",
        ),
        (
            Gates(max_windows=30, shadow_rate=0.05),
            (40, 1),
            Usual(4, 20, wanted=4),
            "with 1 labels of shadowed requests a window give 30 in 30 windows, below min_labels",
        ),
        (
            Gates(accuracy=AccuracyGate(source="agreement"), max_windows=30),
            (40, 1),
            Usual(0, 8),
            "with 1.6 shadowed answers a window give 48 in 30 windows, below min_labels 50",
        ),
        (
            Gates(accuracy=AccuracyGate(source="agreement", min_agreement=0.999)),
            (40, 5),
            Usual(0, 50),
            "99.9 % of the answers agree in 60 windows: even if all do it needs about 3330",
        ),
        (
            Gates(accuracy=AccuracyGate(source="none"), max_windows=30),
            (40, 5),
            Usual(0, 3),
            "with 3 requests a window give 450 in 30 windows, below min_requests 500",
        ),
        (Gates(), (6, 1), Usual(9, 100), "of all draws of 1 canary node from 6 nodes"),
        (Gates(min_node_share=0), (40, 5), Usual(9, 100), "min_node_share is 0: a canary with"),
        (Gates(alpha_fail=0.0005), (40, 5), Usual(9, 100), "one of 2000 re-draws of the canary is"),
        (Gates(alpha_pass=0.0004), (40, 5), Usual(9, 100), "alpha_pass 0.0004 one of 2000"),
    ],
)
def test_what_no_luck_could_show_is_refused_with_the_numbers(
    rules: Gates, size: tuple[int, int], usual: Usual, said: str
) -> None:
    with pytest.raises(Refused, match=said):
        refuse_impossible(rules, drawn(*size), usual, "defect-detection-7")


def test_what_is_possible_or_not_known_is_not_refused() -> None:
    refuse_impossible(Gates(), drawn(40, 5), Usual(5, 100), "w-1")
    refuse_impossible(Gates(), drawn(40, 5), Usual(0, 0), "w-1")
    refuse_impossible(Gates(accuracy=AccuracyGate(source="none")), drawn(40, 5), Usual(0, 9), "w")


def test_how_uneven_a_draw_is_is_told_against_other_draws() -> None:
    world = World(nodes=60, canary=6, pre=60)
    plan = design(world)
    even = {one.metric: one for one in balance_of(plan, RULES, evidence(world, plan), FIRST - 1)}
    assert set(even) == {"p50", "p95", "p99", "errors", "accuracy"}
    assert even["accuracy"].further > 0.05

    worse = {
        node: tuple(
            msgspec.structs.replace(record, correct=record.correct // 2)
            if node in plan.canary
            else record
            for record in records
        )
        for node, records in evidence(world, plan).items()
    }
    uneven = {one.metric: one for one in balance_of(plan, RULES, worse, FIRST - 1)}
    assert uneven["accuracy"].further < 0.01
    assert uneven["accuracy"].canary < 60 < uneven["accuracy"].control
    assert "| accuracy |" in balance_text(tuple(uneven.values()))
    assert balance_of(replace(plan, was=None), RULES, worse, FIRST - 1) == ()
