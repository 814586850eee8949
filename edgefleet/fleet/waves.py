"""The looks after each later wave: its nodes against the holdback, on errors and p99.

Accuracy was judged at the canary. The roll-out has an error budget of its own, `alpha_fail` once
more, divided evenly over all looks at all waves: a release without any effect is sent back with
probability 2 * `alpha_fail` at most. Nothing has to be proven to go on, since the canary has passed
already: a look passes when enough requests were seen and nothing points beyond a margin. Nodes that
changed and were not heard of since are no evidence, and no look is taken before enough of them are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from edgefleet.edge.contract import Digest
from edgefleet.fleet.cohorts import Member
from edgefleet.fleet.contrast import Contrast, contrasts_of, finding_of
from edgefleet.fleet.design import DRAWS, Design
from edgefleet.fleet.finding import MetricVerdict, Outcome, Verdict, reason_of, worst
from edgefleet.fleet.floors import floors_of, judge_floor
from edgefleet.fleet.paths import draws_of, most_extreme, share_as_extreme
from edgefleet.fleet.scores import errors_score, latency_scores
from edgefleet.fleet.sheets import Sheet
from edgefleet.spec import Gates

_SIGN: Final = 0.05
"""An estimate beyond a margin that chance gives less often than this is a sign, not a proof."""


@dataclass(frozen=True, slots=True)
class WaveDesign:
    """Who is compared with whom after one wave, and with what share of the error budget."""

    design: Design
    looks: int
    """How many looks the wave gets."""
    alpha: float
    """Of each look."""


def wave_design(
    gates: Gates,
    *,
    changed: Sequence[str],
    holdback: Sequence[str],
    want: Digest,
    was: Digest,
    first: int,
    looks: int,
    waves: int = 1,
) -> WaveDesign:
    """Return the design of the looks at `changed` nodes.

    Args:
        gates: Margins, floors and error rates.
        changed: Nodes that serve `want`.
        holdback: Nodes that serve `was`.
        want: The digest that is rolled out.
        was: The champion's.
        first: The first window after the change.
        looks: How many looks each wave gets.
        waves: How many waves are looked at: the budget is divided by `looks * waves`.
    """
    alpha = gates.alpha_fail / max(1, looks * waves)
    design = Design(
        nodes=tuple(Member(node, "all") for node in (*changed, *holdback)),
        canary=tuple(changed),
        want=want,
        was=was,
        salt=f"wave/{want}",
        first_window=first,
        draws=max(DRAWS, math.ceil(2 / alpha)),
    )
    return WaveDesign(design, looks, alpha)


def judge_wave(wave: WaveDesign, gates: Gates, sheet: Sheet, window: int, look: int) -> Verdict:
    """Return the verdict on a wave after `window`; `look` counts from 1."""
    design, alpha = wave.design, wave.alpha
    draws = draws_of(design.nodes, design.canary, design.salt, design.draws)
    scores = (*latency_scores(sheet, gates, (0.99,)), errors_score(sheet, gates))
    contrasts = contrasts_of(scores, draws)
    metrics = (
        *_findings(sheet, contrasts, alpha),
        *(
            judge_floor(floor, gates, ready=True, first=False)
            for floor in floors_of(sheet.after.of(sheet.canary), gates)
            if floor.name != "accuracy"
        ),
    )
    outcome = worst(metric.outcome for metric in metrics)
    text = "\n".join(metric.text for metric in metrics)
    reason = _reason(metrics, outcome, look, wave.looks)
    return Verdict(window, look, outcome, metrics, _driving(design, contrasts), text, reason)


def _reason(metrics: tuple[MetricVerdict, ...], outcome: Outcome, look: int, looks: int) -> str:
    if outcome is not Outcome.INCONCLUSIVE:
        return reason_of(metrics, outcome, look, "")
    # A wave is stopped by a loss that is shown; it needs no PASS.
    unsure = ", ".join(metric.name for metric in metrics if metric.outcome is outcome)
    return f"no loss shown in {look} of {looks} looks; too little to be sure of {unsure}"


def unheard(sheet: Sheet, gates: Gates) -> str:
    """Say how little of a wave was heard of since it changed; nothing where it is enough."""
    nodes = len(sheet.canary)
    heard = int(sheet.after.seen[sheet.canary].any(1).sum())
    if heard >= gates.min_node_share * nodes:
        return ""
    least = f"min_node_share {gates.min_node_share:.0%}"
    return f"only {heard} of {nodes} changed nodes were heard of ({least})"


def _findings(
    sheet: Sheet, contrasts: tuple[Contrast, ...], alpha: float
) -> tuple[MetricVerdict, ...]:
    told = [contrast.worse for contrast in contrasts if contrast.score.enough]
    extreme = most_extreme(told or [contrasts[0].worse])
    findings = []
    for contrast in contrasts:
        p = share_as_extreme(extreme, float(contrast.worse[0]))
        outcome = Outcome.PASS
        if not contrast.score.enough or (contrast.beyond and p <= _SIGN):
            outcome = Outcome.INCONCLUSIVE
        if contrast.score.enough and contrast.beyond and p <= alpha:
            outcome = Outcome.FAIL
        here = contrast.score.weights > 0
        nodes = int(here[sheet.canary].sum()), int(here[sheet.control].sum())
        findings.append(finding_of(contrast, outcome, extreme, budgets=(alpha, 1.0), nodes=nodes))
    return tuple(findings)


def _driving(design: Design, contrasts: tuple[Contrast, ...]) -> tuple[str, ...]:
    """Return the three nodes that pull down the metric that looks worst."""
    chosen = max(contrasts, key=lambda contrast: float(contrast.worse[0]))
    parts = chosen.by_node
    return tuple(design.canary[index] for index in parts.argsort()[:3] if parts[index] < 0)
