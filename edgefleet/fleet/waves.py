"""The looks after each later wave: its nodes against the holdback, on errors and p99.

Accuracy was judged at the canary. The roll-out has an error budget of its own, `alpha_fail` once
more, divided evenly over all looks at all waves: a release without any effect is sent back with
probability 2 * `alpha_fail` at most. Nothing has to be proven to go on, since the canary has passed
already: a look passes when enough requests were seen and nothing points beyond a margin.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from edgefleet.edge.contract import Digest, Evidence
from edgefleet.fleet.cohorts import Member
from edgefleet.fleet.contrast import Contrast, contrast_of, finding_of
from edgefleet.fleet.design import DRAWS, Design
from edgefleet.fleet.finding import MetricVerdict, Outcome, Verdict, reason_of, worst
from edgefleet.fleet.floors import floors_of, judge_floor
from edgefleet.fleet.paths import draws_of, most_extreme, share_as_extreme
from edgefleet.fleet.scores import Sheet, errors_score, latency_scores, sheet_of
from edgefleet.spec import Gates

_SIGN: Final = 0.05
"""An estimate beyond a margin that chance gives less often than this is a sign, not a proof."""


def judge_wave(
    gates: Gates,
    evidence: Mapping[str, Sequence[Evidence]],
    *,
    changed: Sequence[str],
    holdback: Sequence[str],
    want: Digest,
    was: Digest,
    windows: Sequence[int],
    look: int,
    looks: int,
    waves: int = 1,
    members: Sequence[Member] = (),
    pre: tuple[int, int] | None = None,
) -> Verdict:
    """Return the verdict on `changed` nodes over `windows`.

    Args:
        gates: Margins, floors and error rates.
        evidence: Records of all nodes; `pre` ones too, where that is given.
        changed: Nodes that serve `want`.
        holdback: Nodes that serve `was`.
        want: The digest that is rolled out.
        was: The champion's.
        windows: Numbers of the windows, ascending, all after the change.
        look: Which look at this wave, from 1.
        looks: How many looks each wave gets.
        waves: How many waves are looked at: the budget is divided by `looks * waves`.
        members: Strata of the nodes; without them all count as of one.
        pre: First and last window before any node changed; None: compare without a past.
    """
    alpha = gates.alpha_fail / max(1, looks * waves)
    strata = {member.node: member for member in members}
    nodes = tuple(strata.get(node, Member(node, "all")) for node in (*changed, *holdback))
    design = Design(
        nodes=nodes,
        canary=tuple(changed),
        want=want,
        was=was,
        salt=f"wave/{want}",
        first_window=windows[0],
        pre=pre,
        draws=max(DRAWS, math.ceil(2 / alpha)),
    )
    sheet = sheet_of(design, evidence, windows[-1])
    draws = draws_of(design.nodes, design.canary, design.salt, design.draws)
    scores = (*latency_scores(sheet, gates, (0.99,)), errors_score(sheet, gates))
    contrasts = tuple(contrast_of(score, draws) for score in scores)
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
    reason = reason_of(metrics, outcome, look, f"; {looks} looks at this wave")
    return Verdict(windows[-1], look, outcome, metrics, _driving(design, contrasts), text, reason)


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
