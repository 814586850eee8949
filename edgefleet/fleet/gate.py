"""The canary's gate: looked at after every window, with its error budget spent along the way.

FAIL at `alpha_fail` in all: half for accuracy by pairs (or agreement), half for one max-T test of
everything else; the whole for the latter where nothing is answered by both models. PASS: every
metric is shown to be within its margin, each at the full `alpha_pass`, which needs no correction
because all must hold. A metric that was proven worse fails once its estimate is beyond the margin
too. What a look decided is kept in `GateState`: a driver that resumes has spent what its forerunner
spent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from edgefleet.fleet.bets import Bet, agreement_bet, errors_bet, paired_bet, presence_bet
from edgefleet.fleet.bets_finding import agreement_finding, paired_finding
from edgefleet.fleet.budget import has_bets, share_of_budget
from edgefleet.fleet.contrast import Contrast, contrasts_of, finding_of
from edgefleet.fleet.design import Design
from edgefleet.fleet.finding import MetricVerdict, Outcome, Verdict, reason_of, worst
from edgefleet.fleet.floors import floors_of, judge_floor
from edgefleet.fleet.paths import Draws, Paths, cross, draws_of, fresh, most_extreme
from edgefleet.fleet.scores import PRESENCE_MARGIN, presence_counts, scores_of
from edgefleet.fleet.sheets import Sheet
from edgefleet.fleet.tally import Tally
from edgefleet.spec import Gates

_DRIVING: Final = 3


@dataclass(frozen=True, slots=True)
class Passing:
    """How far one metric is on its way to a PASS."""

    name: str
    paths: Paths
    passed: bool = False


@dataclass(frozen=True, slots=True)
class GateState:
    """What all looks so far have spent and shown; stored with each verdict."""

    look: int
    worse: Paths
    proven_worse: bool = False
    """The re-randomisation test crossed: latched."""
    pairs_seen: bool = False
    """From then on accuracy passes by pairs only: two ways to a PASS would be two chances."""
    pairs_worse: bool = False
    pairs_fine: bool = False
    errors_fine: bool = False
    presence_fine: bool = False
    passing: tuple[Passing, ...] = ()


@dataclass(frozen=True, slots=True)
class _Look:
    """What all steps of one look share."""

    number: int
    gates: Gates
    design: Design
    sheet: Sheet
    canary: Tally
    """Since the change, the canary's nodes alone."""
    draws: Draws

    @property
    def ready(self) -> bool:
        """Whether the soak has lasted long enough for a PASS."""
        return self.number >= self.gates.min_windows

    def fail_budget(self) -> float:
        """Return what the re-randomisation test may have spent by now."""
        return share_of_budget(self.gates, "", self.number)[0]

    def pass_budget(self, name: str) -> float:
        """Return what one metric's way to a PASS may have spent by now."""
        return share_of_budget(self.gates, name, self.number)[1]


def open_gate(design: Design, gates: Gates) -> GateState:
    """Return the state before the first look; the re-draws are computed here, once per process."""
    draws_for(design)
    names = [f"p{q * 100:g}" for q in gates.latency.quantiles] + ["errors"]
    names.append("presence")
    if gates.accuracy.source == "labels":
        names.append("accuracy")
    unused = fresh(design.draws)
    return GateState(0, unused, passing=tuple(Passing(name, unused) for name in names))


def judge(
    state: GateState, design: Design, gates: Gates, sheet: Sheet, window: int
) -> tuple[GateState, Verdict]:
    """Return the state and the verdict after `window`.

    `sheet` holds all evidence up to it, the past before the change too; what came late is counted
    in the window it belongs to. The same look taken twice spends nothing twice.
    """
    canary = sheet.after.of(sheet.canary)
    now = _Look(design.look_at(window), gates, design, sheet, canary, draws_for(design))
    state, bet = _bet(replace(state, look=max(state.look, now.number)), now)
    contrasts = _contrasts(state, now)
    state = _spend_on_fail(state, now, contrasts)
    state = _spend_on_pass(state, now, contrasts)
    metrics: list[MetricVerdict] = []
    if bet is not None:
        metrics.append(_bet_finding(state, now, bet))
    metrics.extend(_path_findings(state, now, contrasts))
    metrics.extend(
        judge_floor(floor, gates, ready=now.ready, first=False)
        for floor in floors_of(canary, gates)
    )
    return state, _verdict(now, tuple(metrics), _driving(now, metrics, contrasts, bet), window)


def draws_for(design: Design) -> Draws:
    """Return a design's re-draws; they are computed once per process."""
    return draws_of(design.nodes, design.canary, design.salt, design.draws)


def _bet(state: GateState, now: _Look) -> tuple[GateState, Bet | None]:
    """Return what the bets on the canary's own pairs show; None: there are none to bet on."""
    gates, source = now.gates, now.gates.accuracy.source
    if not has_bets(gates):
        return state, None
    bet = (agreement_bet if source == "agreement" else paired_bet)(now.canary, gates)
    seen = state.pairs_seen or bet.n > 0
    if source == "labels" and not seen:
        return state, None
    margin = 0.0 if source == "agreement" else gates.accuracy.margin_pt / 100
    crossed = bet.log_worse >= -math.log(gates.alpha_fail / 2) and bet.effect < -margin
    fine = bet.log_fine >= -math.log(gates.alpha_pass)
    return replace(
        state,
        pairs_seen=seen,
        pairs_worse=state.pairs_worse or (bet.enough and crossed),
        pairs_fine=state.pairs_fine or (bet.enough and now.ready and fine),
    ), bet


def _contrasts(state: GateState, now: _Look) -> tuple[Contrast, ...]:
    scores = scores_of(now.sheet, now.gates, paired=state.pairs_seen)
    return contrasts_of(scores, now.draws)


def _spend_on_fail(state: GateState, now: _Look, contrasts: tuple[Contrast, ...]) -> GateState:
    told = [contrast.worse for contrast in contrasts if contrast.score.enough]
    if not told:
        return state
    worse, hit = cross(state.worse, most_extreme(told), now.fail_budget())
    return replace(state, worse=worse, proven_worse=state.proven_worse or hit)


def _spend_on_pass(state: GateState, now: _Look, contrasts: tuple[Contrast, ...]) -> GateState:
    """Let each metric with evidence spend its own budget, from the end of the soak on."""
    if not now.ready:
        return state
    told = {c.score.name: c for c in contrasts if c.score.enough}
    passing = []
    for way in state.passing:
        step = way
        if way.name in told and not way.passed:
            budget = now.pass_budget(way.name)
            paths, hit = cross(way.paths, told[way.name].fine, budget)
            step = Passing(way.name, paths, hit)
        passing.append(step)
    boundary = -math.log(now.gates.alpha_pass / 2)
    fine = "errors" in told and errors_bet(now.canary, told["errors"].score.margin) >= boundary
    heard = "presence" in told and _heard(now)
    return replace(
        state,
        passing=tuple(passing),
        errors_fine=state.errors_fine or fine,
        presence_fine=state.presence_fine or heard,
    )


def _heard(now: _Look) -> bool:
    """Say whether the canary is shown to be there where no other draw could show it."""
    if now.draws.same <= share_of_budget(now.gates, "presence", now.gates.max_windows)[1]:
        return False
    came, due = (counts[now.sheet.canary] for counts in presence_counts(now.sheet))
    return presence_bet(came, due, PRESENCE_MARGIN) >= -math.log(now.gates.alpha_pass)


def _path_findings(
    state: GateState, now: _Look, contrasts: tuple[Contrast, ...]
) -> list[MetricVerdict]:
    passed = {way.name for way in state.passing if way.passed}
    passed |= {"errors"} if state.errors_fine else set()
    passed |= {"presence"} if state.presence_fine else set()
    told = [contrast.worse for contrast in contrasts if contrast.score.enough]
    findings = []
    for contrast in contrasts:
        score = contrast.score
        outcome = Outcome.INCONCLUSIVE
        if state.proven_worse and score.enough and contrast.beyond:
            outcome = Outcome.FAIL
        elif score.name in passed:
            outcome = Outcome.PASS
        here = score.weights > 0
        nodes = int(here[now.sheet.canary].sum()), int(here[now.sheet.control].sum())
        budgets = now.fail_budget(), now.pass_budget(score.name)
        extreme = most_extreme(told or [contrast.worse])
        findings.append(finding_of(contrast, outcome, extreme, budgets=budgets, nodes=nodes))
    return findings


def _bet_finding(state: GateState, now: _Look, bet: Bet) -> MetricVerdict:
    outcome = Outcome.INCONCLUSIVE
    if state.pairs_worse:
        outcome = Outcome.FAIL
    elif state.pairs_fine:
        outcome = Outcome.PASS
    finding = agreement_finding if now.gates.accuracy.source == "agreement" else paired_finding
    return finding(bet, now.canary, now.gates, outcome)


def _driving(
    now: _Look,
    metrics: Sequence[MetricVerdict],
    contrasts: tuple[Contrast, ...],
    bet: Bet | None,
) -> tuple[str, ...]:
    """Return the canary nodes that pull down the metric that decided, or looks worst."""
    parts = {contrast.score.name: contrast.by_node for contrast in contrasts}
    if bet is not None:
        # Rows of a bet are in the design's order of nodes, those of a contrast in the canary's.
        names = [now.design.nodes[row].node for row in now.sheet.canary]
        place = {name: index for index, name in enumerate(names)}
        parts[metrics[0].name] = bet.by_node[[place[node] for node in now.design.canary]]
    known = [metric for metric in metrics if metric.name in parts]
    failed = [metric for metric in known if metric.outcome is Outcome.FAIL]
    if not known:
        return ()
    chosen = max(failed or known, key=lambda metric: metric.evidence - metric.boundary)
    part = parts[chosen.name]
    return tuple(
        now.design.canary[index] for index in np.argsort(part)[:_DRIVING] if part[index] < 0
    )


def _verdict(
    now: _Look, metrics: tuple[MetricVerdict, ...], driving: tuple[str, ...], window: int
) -> Verdict:
    gates = now.gates
    failed = any(metric.outcome is Outcome.FAIL for metric in metrics)
    outcome = worst(metric.outcome for metric in metrics)
    if not failed and not now.ready:
        outcome = Outcome.INCONCLUSIVE
    latest = f"; looked at up to window {gates.max_windows}"
    if not now.ready:
        latest = f"; no PASS before window {gates.min_windows}"
    text = "\n".join(metric.text for metric in metrics)
    if now.design.hand_picked:
        text += "\nthe canary was hand-picked: the stated error rates are not guaranteed"
    reason = reason_of(metrics, outcome, now.number, latest)
    return Verdict(window, now.number, outcome, metrics, driving, text, reason)
