"""One metric of the re-randomisation test: its estimate, its interval, its words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from edgefleet.fleet.finding import MetricVerdict, Outcome
from edgefleet.fleet.paths import Draws, Weighed, share_as_extreme, standardised
from edgefleet.fleet.scores import Score
from edgefleet.fleet.stats import z_of
from edgefleet.fleet.tally import Floats

_Z: Final = z_of(0.95)
_NOTHING: Final = 0.005
"""Below this an effect shows as 0.00."""
_WORDS: Final = {
    "accuracy": ("worse", "better"),
    "errors": ("more", "fewer"),
    "presence": ("silent more", "silent less"),
}
_SLOWER: Final = ("slower", "quicker")


@dataclass(frozen=True, slots=True, eq=False)
class Contrast:
    """A canary against its controls on one metric, and what other draws would have shown."""

    score: Score
    effect: float
    """Canary less controls, in units of the score: negative is worse."""
    half: float
    """Half of the 95 % interval, from the spread over re-draws."""
    worse: Floats
    """Each path's evidence that its nodes are worse, in units of the spread."""
    fine: Floats
    """Each path's mean with a loss of exactly the margin undone; the real one's is shrunk."""
    by_node: Floats
    """Each canary node's weighted part of the effect."""

    @property
    def beyond(self) -> bool:
        """Whether the estimate is worse than what is still accepted."""
        return self.effect < -self.score.alarm


def contrasts_of(scores: Sequence[Score], draws: Draws) -> tuple[Contrast, ...]:
    """Return the contrast of each metric over all draws."""
    # Quantiles of latency have one weight, and sums over all draws are what a look costs.
    by = {score.weights.tobytes(): score.weights for score in scores}
    weighed = {key: draws.weighed(weights) for key, weights in by.items()}
    return tuple(_contrast_of(score, draws, weighed[score.weights.tobytes()]) for score in scores)


def _contrast_of(score: Score, draws: Draws, weighed: Weighed) -> Contrast:
    means, fine = draws.means(score.values, weighed, score.margin)
    if fine[0] > 0:
        fine[0] *= score.shrink
    weights = score.weights[draws.real]
    by_node = draws.contrasts(score.values, score.weights) * weights
    effect = float(by_node.sum() / max(float(weights.sum()), 1e-12))
    # A canary node is part of its factory's mean: that hides its share of the effect.
    half = _Z * float(means.std()) / max(draws.controls_share, 1e-3)
    return Contrast(score, effect, half, standardised(-means), fine, by_node)


def finding_of(
    contrast: Contrast,
    outcome: Outcome,
    extreme: Floats,
    *,
    budgets: tuple[float, float],
    nodes: tuple[int, int],
) -> MetricVerdict:
    """Return the metric's verdict with its numbers.

    `extreme` holds each path's worst metric (max-T), `budgets` what a FAIL and a PASS may have
    spent of their error rates by now, `nodes` how many of canary and controls gave evidence.
    """
    score = contrast.score
    unit, worse_is, centre, low, high = _in_unit(contrast)
    scale = "ms" if unit == "%" else "%"
    factor = 1e3 if unit == "%" else 100.0
    canary = None if score.canary is None else factor * score.canary
    control = None if score.control is None else factor * score.control
    margin = 100 * (math.expm1(score.margin) if unit == "%" else score.margin)
    measured = score.n > 0 and nodes[0] > 0 and nodes[1] > 0
    return MetricVerdict(
        name=score.name,
        outcome=outcome,
        effect=centre if measured else None,
        low=low if measured else None,
        high=high if measured else None,
        unit=unit,
        n=score.n,
        nodes=nodes[0],
        margin=margin,
        canary=canary,
        control=control,
        evidence=-math.log10(share_as_extreme(extreme, float(contrast.worse[0]))),
        boundary=-math.log10(max(budgets[0], 1e-12)),
        text=_text(contrast, nodes, margin, (canary, control), scale, measured=measured),
        scale=scale,
        pass_evidence=-math.log10(share_as_extreme(contrast.fine, float(contrast.fine[0]))),
        pass_boundary=-math.log10(max(budgets[1], 1e-12)),
        worse_is=worse_is,
    )


def by_how_much(
    effect: float, interval: tuple[float, float], unit: str, words: tuple[str, str], worse_is: int
) -> str:
    """Return `worse by 1.9 pt [1.2, 2.6]`, the interval in the direction of the word."""
    bad = effect * worse_is > 0
    sign = worse_is if bad else -worse_is
    ends = sorted(sign * end for end in interval)
    word = words[0] if bad else words[1]
    if abs(effect) < _NOTHING:
        return f"no difference [{ends[0]:.2f}, {ends[1]:.2f}]"
    return f"{word} by {abs(effect):.2f} {unit} [{ends[0]:.2f}, {ends[1]:.2f}]"


def _in_unit(contrast: Contrast) -> tuple[str, int, float, float, float]:
    """Return unit, the sign of a loss, effect, low, high."""
    centre, half = contrast.effect, contrast.half
    if contrast.score.name in {"accuracy", "presence"}:
        return "pt", -1, 100 * centre, 100 * (centre - half), 100 * (centre + half)
    if contrast.score.name == "errors":
        return "pt", 1, -100 * centre, -100 * (centre + half), -100 * (centre - half)
    centre, low, high = (
        100 * float(np.expm1(-end)) for end in (centre, centre + half, centre - half)
    )
    return "%", 1, centre, low, high


def _text(
    contrast: Contrast,
    nodes: tuple[int, int],
    margin: float,
    sides: tuple[float | None, float | None],
    scale: str,
    *,
    measured: bool,
) -> str:
    score = contrast.score
    if not measured or sides[0] is None or sides[1] is None:
        return f"{score.name}: no evidence from canary or controls, and that never passes"
    unit, worse_is, centre, low, high = _in_unit(contrast)
    words = _WORDS.get(score.name, _SLOWER)
    text = (
        f"{score.name} {sides[0]:.2f} {scale} (n={score.n} on {nodes[0]} nodes) against "
        f"{sides[1]:.2f} {scale} on {nodes[1]} control nodes"
    )
    text += ", each against its own past" if score.with_past else ", without a past to compare with"
    text += (
        f": {by_how_much(centre, (low, high), unit, words, worse_is)}, margin {margin:.2g} {unit}"
    )
    return text if score.enough else f"{text}; too few for a verdict"
