"""The canary's gate on simulated fleets: forty nodes, five of them changed, unless said else."""

from __future__ import annotations

import math
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefleet.edge.contract import Digest, Evidence
from edgefleet.fleet.verdict import GateState, Outcome, Verdict, open_gate
from edgefleet.spec import AccuracyGate, ErrorGate, Floors, LatencyGate
from tests.fleet.simulated import FIRST, WANT, World, design, evidence, gates, look, soak

SHORT = gates(max_windows=20, pre_windows=15)
SMALL = World(nodes=24, pre=15, windows=20)
UNLABELLED = {"disagreed_labelled": 0, "shadow_gains": 0, "shadow_losses": 0}
Seen = dict[str, tuple[Evidence, ...]]


def changed(seen: Seen, nodes: tuple[str, ...], **fields: object) -> Seen:
    """Return the evidence with fields of these nodes' records after the change replaced."""
    return {
        node: tuple(
            msgspec.structs.replace(r, **fields) if node in nodes and r.window >= FIRST else r
            for r in records
        )
        for node, records in seen.items()
    }


def test_identical_models_fail_no_more_often_than_the_budget_allows() -> None:
    runs = 40
    failed = sum(
        soak(replace(SMALL, seed=seed), SHORT).outcome is Outcome.FAIL for seed in range(runs)
    )
    alpha = SHORT.alpha_fail
    beyond = sum(
        math.comb(runs, k) * alpha**k * (1 - alpha) ** (runs - k) for k in range(failed, runs + 1)
    )
    assert beyond > 0.01, f"{failed} of {runs} failed at {alpha:g}"


def test_five_points_less_accuracy_fail_on_ten_nodes_with_labels() -> None:
    world = World(nodes=60, canary=10, drop=0.05)
    for seed in range(5):
        found = soak(replace(world, seed=seed), gates())
        assert found.outcome is Outcome.FAIL
        assert "accuracy" in found.verdict.reason
        assert set(found.verdict.driving) <= set(design(replace(world, seed=seed)).canary)


def test_ten_points_less_are_found_by_five_nodes_within_fifteen_windows() -> None:
    runs = [soak(World(drop=0.1, seed=seed), gates()) for seed in range(10)]
    assert {run.outcome for run in runs} == {Outcome.FAIL}
    assert sum(run.look <= 15 for run in runs) >= 9


def test_an_equal_model_passes_within_forty_five_windows_at_two_points() -> None:
    runs = [soak(World(seed=seed), gates()) for seed in range(200, 210)]
    assert all(run.outcome is not Outcome.FAIL for run in runs)
    assert sum(run.outcome is Outcome.PASS for run in runs) >= 7
    assert all(run.look >= gates().min_windows for run in runs)


def test_a_model_that_hardly_disagrees_passes_with_few_labels_of_its_disagreements() -> None:
    world = World(discordance=0.01, paired=4, unlabelled_too=True)
    runs = [soak(replace(world, seed=seed), gates()) for seed in range(4)]
    assert {run.outcome for run in runs} == {Outcome.PASS}


@pytest.mark.parametrize(
    ("world", "name"), [(World(slower=1.6), "p50"), (World(errors=0.05), "errors")]
)
def test_a_slow_or_failing_model_fails_within_a_few_windows(world: World, name: str) -> None:
    found = soak(world, gates())
    assert found.outcome is Outcome.FAIL
    assert found.look <= 6
    assert name in {m.name for m in found.verdict.metrics if m.outcome is Outcome.FAIL}


def test_without_pairs_accuracy_is_compared_between_nodes() -> None:
    world = World(nodes=80, canary=12, drop=0.12, paired=0)
    plan = design(world)
    seen = {
        node: tuple(
            msgspec.structs.replace(r, labelled=20, correct=16 if r.digest == WANT else 19)
            for r in records
        )
        for node, records in evidence(world, plan).items()
    }
    found = soak(world, gates(), seen=seen)
    assert found.outcome is Outcome.FAIL
    assert "control nodes" in next(m.text for m in found.verdict.metrics if m.name == "accuracy")


def test_windows_of_a_server_just_started_are_ignored() -> None:
    plan = design(SMALL)
    seen = evidence(SMALL, plan)
    cold = {
        node: tuple(
            Evidence(window=FIRST + i, digest=WANT, boot="b", warm=False, ok=9, server_errors=9)
            for i in range(3)
        )
        for node in plan.canary
    }
    both = {node: (*records, *cold.get(node, ())) for node, records in seen.items()}
    assert soak(SMALL, SHORT, seen=seen).verdict == soak(SMALL, SHORT, seen=both).verdict


def test_a_canary_node_that_serves_another_digest_gives_no_evidence() -> None:
    plan = design(SMALL)
    seen = evidence(SMALL, plan)
    other = changed(seen, plan.canary, digest=Digest("sha256:" + "9" * 64))
    found = soak(SMALL, SHORT, seen=other)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert "no evidence" in found.verdict.text


NOTHING: dict[str, dict[str, object]] = {
    "labels": {"labelled": 0, "correct": 0, "paired": 0, "gains": 0, "losses": 0, "shadowed": 0},
    "latency": {"latency": ()},
    "requests": {"ok": 0, "server_errors": 0, "latency": ()},
}


@settings(max_examples=12)
@given(
    st.sampled_from([*NOTHING, "all", "controls", "most"]),
    st.integers(0, 50),
    st.sampled_from(["labels", "agreement"]),
)
def test_missing_evidence_never_passes(what: str, seed: int, source: str) -> None:
    world = replace(SMALL, seed=seed, discordance=0.0, offline=0.0)
    rules = gates(max_windows=20, accuracy={"source": source, "margin_pt": 5})
    plan = design(world)
    seen = evidence(world, plan)
    controls = tuple(m.node for m in plan.nodes if m.node not in plan.canary)
    if what in NOTHING:
        seen = changed(seen, plan.canary, **NOTHING[what])
    else:
        gone = {"all": plan.canary, "controls": controls, "most": plan.canary[:3]}[what]
        seen = {
            node: tuple(r for r in records if node not in gone or r.window < FIRST)
            for node, records in seen.items()
        }
    state = open_gate(plan, rules)
    for number in (10, 15, 20):
        state, verdict = look(state, plan, rules, seen, FIRST + number - 1)
        assert verdict.outcome is not Outcome.PASS


def test_nothing_at_all_is_inconclusive_from_the_first_look_to_the_last() -> None:
    plan = design(SMALL)
    state = open_gate(plan, SHORT)
    for number in (1, 20, 40):
        state, verdict = look(state, plan, SHORT, {}, FIRST + number - 1)
        assert verdict.outcome is Outcome.INCONCLUSIVE
        assert {m.outcome for m in verdict.metrics} == {Outcome.INCONCLUSIVE}


def test_a_stored_state_goes_on_as_if_nothing_had_been_stored() -> None:
    plan = design(SMALL)
    seen = evidence(SMALL, plan)
    going_on = resumed = open_gate(plan, SHORT)
    for number in range(1, 21):
        going_on, one = look(going_on, plan, SHORT, seen, FIRST + number - 1)
        resumed, other = look(resumed, plan, SHORT, seen, FIRST + number - 1)
        assert one == other
        resumed = msgspec.json.decode(msgspec.json.encode(resumed), type=GateState)
        assert msgspec.json.decode(msgspec.json.encode(one), type=Verdict) == one
    assert going_on == resumed


def test_the_same_look_taken_twice_spends_nothing_twice() -> None:
    plan = design(SMALL)
    seen = evidence(SMALL, plan)
    state, _ = look(open_gate(plan, SHORT), plan, SHORT, seen, FIRST + 11)
    assert look(state, plan, SHORT, seen, FIRST + 11)[0] == state


def test_a_model_that_ruins_one_line_and_harms_the_others_a_little_is_found() -> None:
    world = replace(SMALL, windows=12, paired=12, offline=0.0)
    plan = design(world)
    losses = dict(zip(plan.canary, (7, 1, 1, 1, 1), strict=True))
    seen = {
        node: tuple(
            msgspec.structs.replace(
                r,
                shadowed=12,
                paired=12,
                labelled=12,
                correct=11 - losses[node],
                gains=0,
                losses=losses[node],
                disagreed=losses[node],
                disagreed_labelled=losses[node],
                shadow_gains=0,
                shadow_losses=losses[node],
            )
            if node in losses and r.window >= FIRST
            else r
            for r in records
        )
        for node, records in evidence(world, plan).items()
    }
    _, found = look(open_gate(plan, SHORT), plan, SHORT, seen, FIRST + 9)
    accuracy = found.metrics[0]
    assert accuracy.name == "accuracy"
    assert accuracy.outcome is Outcome.FAIL


def test_a_disagreement_that_was_a_loss_counts_as_one_whoever_asked_for_its_label() -> None:
    plan = design(SMALL)
    seen = changed(
        evidence(SMALL, plan),
        plan.canary,
        shadowed=40,
        paired=2,
        labelled=2,
        correct=2,
        wanted=2,
        gains=0,
        losses=0,
        disagreed=4,
        disagreed_labelled=4,
        shadow_gains=0,
        shadow_losses=4,
    )
    state = open_gate(plan, SHORT)
    for window in range(FIRST, FIRST + 20):
        state, found = look(state, plan, SHORT, seen, window)
        assert found.metrics[0].outcome is Outcome.INCONCLUSIVE


def test_late_evidence_is_counted_in_its_own_window() -> None:
    plan = design(SMALL)
    seen = evidence(SMALL, plan)
    late = plan.canary[0]
    labels = [
        msgspec.structs.replace(r, ok=0, latency=(), server_errors=0, shadowed=0, disagreed=0)
        for r in seen[late]
    ]
    bare = [
        msgspec.structs.replace(
            r, labelled=0, correct=0, paired=0, gains=0, losses=0, wanted=0, **UNLABELLED
        )
        for r in seen[late]
    ]
    state = open_gate(plan, SHORT)
    _, on_time = look(state, plan, SHORT, seen, FIRST + 14)
    _, afterwards = look(state, plan, SHORT, seen | {late: (*bare, *labels)}, FIRST + 14)
    assert on_time == afterwards


def test_a_canary_that_falls_silent_fails_or_waits_but_never_passes() -> None:
    world = replace(SMALL, nodes=40, canary=6, offline=0.0, discordance=0.0)
    plan = design(world)
    seen = {
        node: tuple(r for r in records if node not in plan.canary or r.window < FIRST + 4)
        for node, records in evidence(world, plan).items()
    }
    found = soak(world, SHORT, plan=plan, seen=seen)
    assert found.outcome is Outcome.FAIL
    assert "presence" in found.verdict.reason
    assert "silent more" in found.verdict.reason


def test_a_verdict_without_a_past_says_so() -> None:
    world = replace(SMALL, pre=0)
    text = soak(world, SHORT).verdict.text
    assert "without a past to compare with" in text
    assert "each against its own past" not in text


def test_a_hand_picked_canary_is_named_in_the_verdict() -> None:
    plan = design(SMALL, hand_picked=True)
    assert "hand-picked" in soak(SMALL, SHORT, plan=plan).verdict.text


def test_agreement_passes_and_fails_without_any_label() -> None:
    rules = gates(max_windows=20, accuracy=AccuracyGate(source="agreement", min_agreement=0.9))
    world = replace(SMALL, paired=12)
    fine = soak(replace(world, discordance=0.02), rules)
    assert fine.outcome is Outcome.PASS
    poor = soak(replace(world, discordance=0.25), rules)
    assert poor.outcome is Outcome.FAIL
    assert "at least 90 %" in poor.verdict.reason


def test_where_nobody_measures_accuracy_no_metric_claims_it() -> None:
    rules = gates(max_windows=20, accuracy=AccuracyGate(source="none"))
    found = soak(replace(SMALL, paired=0, offline=0.0), rules)
    assert "accuracy" not in {metric.name for metric in found.verdict.metrics}
    assert found.outcome is Outcome.PASS


def test_a_missed_floor_fails_a_model_that_equals_its_champion() -> None:
    rules = gates(floors=Floors(accuracy=0.995, p99_ms=1.0))
    found = soak(replace(SMALL, windows=45, discordance=0.0), rules)
    assert found.outcome is Outcome.FAIL
    assert "floor" in found.verdict.reason


def test_the_worst_nodes_are_named_first() -> None:
    world = replace(SMALL, nodes=40, offline=0.0, errors=0.2)
    plan = design(world)
    seen = evidence(world, plan)
    seen |= changed(seen, plan.canary[2:], server_errors=0)
    verdict = soak(world, gates(floors=Floors(error_rate=0.5)), plan=plan, seen=seen).verdict
    assert set(verdict.driving[:2]) == set(plan.canary[:2])


def test_in_a_fleet_of_four_nodes_being_there_is_shown_by_the_canary_alone() -> None:
    small = World(nodes=4, factories=2, canary=2, paired=30, requests=200, offline=0.0)
    rules = gates(
        latency=LatencyGate(quantiles=()),  # no other draw could show anything about it
        errors=ErrorGate(margin_pt=5.0),
        accuracy=AccuracyGate(margin_pt=10.0),
    )
    assert soak(small, rules).outcome is Outcome.PASS
    plan = design(small)
    seen = {
        node: tuple(
            record
            for record in records
            if node not in plan.canary or record.window < FIRST or record.window % 2
        )
        for node, records in evidence(small, plan).items()
    }
    assert soak(small, rules, plan=plan, seen=seen).outcome is not Outcome.PASS
