"""What people read of plans and verdicts, kept as files; `make golden` writes them anew."""

from __future__ import annotations

from dataclasses import replace

from edgefleet.fleet.plan_text import plan_table
from edgefleet.fleet.preflight import first_preflight, preflight
from edgefleet.fleet.verdict import Verdict, open_gate
from edgefleet.spec import Floors, Gates
from tests.fleet.fleets import fleet, offline, plan, view
from tests.fleet.simulated import FIRST, World, design, evidence, gates, look, soak
from tests.golden.files import same_as_golden


def test_a_plan_shows_waves_bytes_and_who_is_left_out() -> None:
    changed = {
        "n00": offline(view("n00", "f0")),
        "n01": replace(view("n01", "f1"), hold_reason="audit until Friday"),
        "n03": replace(view("n03", "f3"), disk_free_mb=2),
    }
    silent = {"f9": "timed out after 5 s"}
    made = plan(replace(fleet(40, changed), silent=silent), max_deferred=0.3)
    same_as_golden(plan_table(made), "plan.md")


def test_a_first_release_s_plan_says_that_it_is_judged_by_floors() -> None:
    same_as_golden(plan_table(plan(fleet(8, digest=None), champion=None)), "plan-first.md")


def test_a_preflight_says_what_the_canary_will_be_able_to_show() -> None:
    same_as_golden(preflight(Gates(), 10, 5).text, "preflight.md")
    same_as_golden(preflight(Gates(), 1, 2).text, "preflight-too-small.md")


def test_a_first_release_is_told_which_floors_judge_it() -> None:
    rules = Gates(floors=Floors(accuracy=0.9, p99_ms=200))
    same_as_golden(first_preflight(rules, 5).text, "preflight-first.md")
    assert "no floor for accuracy" in first_preflight(Gates(), 5).text


def test_a_verdict_shows_numbers_intervals_and_margins() -> None:
    world = World(nodes=24, pre=15, windows=20)
    rules = gates(max_windows=20, pre_windows=15, floors=Floors(p99_ms=20))
    worse = soak(replace(world, drop=0.1), rules).verdict
    same_as_golden(_words(worse), "verdict-fail.txt")
    same_as_golden(_words(soak(replace(world, discordance=0.0), rules).verdict), "verdict-pass.txt")
    plan_ = design(world)
    state, early = look(open_gate(plan_, rules), plan_, rules, evidence(world, plan_), FIRST)
    assert state.look == 1
    same_as_golden(_words(early), "verdict-early.txt")


def _words(verdict: Verdict) -> str:
    return f"{verdict.reason}\n\n{verdict.text}\n\ndriving: {', '.join(verdict.driving)}"
