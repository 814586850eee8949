"""A first release is judged by floors alone, later waves against the holdback."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from edgefleet.fleet.sheets import sheet_of
from edgefleet.fleet.verdict import Outcome, Verdict, judge_first, judge_wave, wave_design
from edgefleet.spec import Floors, Gates
from tests.fleet.simulated import FIRST, WANT, WAS, World, design, evidence, gates

FLOORS = gates(floors=Floors(accuracy=0.85, p99_ms=20, error_rate=0.01))
WORLD = World(pre=0, windows=20, offline=0.0)


def first(world: World, rules: Gates, look: int = 15) -> Verdict:
    plan = replace(design(world), was=None, pre=None)
    return judge_first(
        rules, sheet_of(plan, evidence(world, plan), FIRST + look - 1), FIRST + look - 1, look
    )


def test_a_first_release_passes_when_it_is_shown_to_hold_every_floor() -> None:
    found = first(WORLD, FLOORS)
    assert found.outcome is Outcome.PASS
    assert {m.name for m in found.metrics} == {"errors floor", "p99 floor", "accuracy floor"}


def test_a_first_release_does_not_pass_before_its_soak_or_without_evidence() -> None:
    assert first(WORLD, FLOORS, look=9).outcome is Outcome.INCONCLUSIVE
    plan = replace(design(WORLD), was=None, pre=None)
    none = judge_first(FLOORS, sheet_of(plan, {}, FIRST + 14), FIRST + 14, 15)
    assert none.outcome is Outcome.INCONCLUSIVE
    assert "no evidence, and that is not counted as good" in none.text


def test_a_first_release_fails_by_the_floor_that_it_misses() -> None:
    cases: list[tuple[World, Floors, str]] = [
        (replace(WORLD, paired=24), Floors(accuracy=0.99), "accuracy floor"),
        (WORLD, Floors(p99_ms=2), "p99 floor"),
        (replace(WORLD, errors=0.04), Floors(), "errors floor"),
    ]
    for world, floors, name in cases:
        found = first(world, gates(floors=floors))
        assert [m.name for m in found.metrics if m.outcome is Outcome.FAIL] == [name]
        assert found.outcome is Outcome.FAIL


def test_without_an_accuracy_floor_the_verdict_says_that_nothing_judged_it() -> None:
    assert "the spec states no floor" in first(WORLD, gates()).text


def wave(world: World, rules: Gates, windows: int = 3) -> Verdict:
    """Judge twelve changed nodes against eight of the holdback."""
    plan = design(world)
    others = [m.node for m in plan.nodes if m.node not in plan.canary]
    made = wave_design(
        rules,
        changed=plan.canary,
        holdback=others[:8],
        want=WANT,
        was=WAS,
        first=FIRST,
        looks=3,
        waves=3,
    )
    last = FIRST + windows - 1
    sheet = sheet_of(made.design, evidence(world, plan), last)
    return judge_wave(made, rules, sheet, last, windows)


WAVE = replace(WORLD, canary=12)


def test_a_wave_without_a_sign_of_harm_passes_and_survives_json() -> None:
    found = wave(WAVE, gates())
    assert found.outcome is Outcome.PASS
    assert msgspec.json.decode(msgspec.json.encode(found), type=Verdict) == found


def test_a_wave_that_errs_or_is_much_slower_fails() -> None:
    for world in (replace(WAVE, errors=0.08), replace(WAVE, slower=6.0)):
        found = wave(world, gates())
        assert found.outcome is Outcome.FAIL
        assert found.driving


def test_a_wave_with_too_few_requests_is_inconclusive() -> None:
    found = wave(replace(WAVE, requests=5), gates(), 1)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.reason.startswith("no loss shown in 1 of 3 looks; too little to be sure of p99")


def test_equal_waves_are_not_sent_back() -> None:
    outcomes = [wave(replace(WAVE, seed=seed), gates()).outcome for seed in range(20)]
    assert Outcome.FAIL not in outcomes
    assert outcomes.count(Outcome.PASS) >= 17
