"""Accuracy by pairs: the old and the new model answered the same requests on the canary's nodes.

Samples are gains (new right, old wrong), losses, and the rest. Whatever is decided, a disagreement
without a label counts against it: for a PASS as a loss, for a FAIL as a gain. So where a QA station
labels disagreements first, every shadowed answer is evidence, labelled or not, and no choice of
labels can mislead. The stake on "it is worse" is divided: most of it on the labelled pairs of all
nodes together, a part on all shadowed answers, and a part on the nodes one by one, since a model
that ruins some lines more than others makes nodes differ so much that a pooled bet is tempered
away. Where the spec judges by agreement, the bets are on the share of answers that agree. Bets stay
valid at every look.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from edgefleet.fleet.stats import (
    FEWEST_BLOCKS,
    design_effects,
    difference_variance,
    difference_variances,
    dispersion,
    log_bet_on_loss,
    log_bet_on_loss_below,
    log_bet_on_share_above,
    log_bet_on_share_below,
    log_bets_on_loss_below,
    mean_of_bets,
    share_variance,
    weighted_bets,
    wilson,
    z_of,
)
from edgefleet.fleet.tally import Floats, Tally
from edgefleet.spec import Gates

_Z: Final = z_of(0.95)
_ON_PAIRS: Final = 0.8
_ON_SHADOWS: Final = 0.1
_ON_NODES: Final = 0.1
"""Stakes on "it is worse": together one."""


class _Answers(NamedTuple):
    """Answers of both models on the canary's nodes, shape (nodes, windows)."""

    n: Floats
    gains: Floats
    losses: Floats
    unknown: Floats
    """Disagreements without a label, in neither."""


@dataclass(frozen=True, slots=True)
class Bet:
    """What was seen on the canary's own pairs, and the capital won on both sides."""

    n: int
    nodes: int
    enough: bool
    effect: float
    """Share gained less share lost; of agreement: share agreeing less the least allowed."""
    low: float
    high: float
    log_worse: float
    log_fine: float
    phi: float
    by_node: Floats
    """Net gains of each canary node, low is bad."""
    shadowed: int = 0
    """Answers that effect and interval are of, where it is all shadowed ones; 0: the pairs."""


def paired_bet(canary: Tally, gates: Gates) -> Bet:
    """Return the bets on pairs; `canary` holds the canary's nodes only.

    Effect and interval are those of the labelled pairs or of all shadowed answers, whichever is
    known better; what unlabelled disagreements may hide is in the interval.
    """
    counts = canary.counts
    unknown = np.maximum(counts["disagreed"] - counts["disagreed_labelled"], 0)
    pairs = _Answers(
        counts["paired"], counts["gains"], counts["losses"], np.zeros_like(counts["paired"])
    )
    shadows = _Answers(counts["shadowed"], counts["shadow_gains"], counts["shadow_losses"], unknown)
    margin = gates.accuracy.margin_pt / 100
    told = min((_estimated(pairs), _estimated(shadows)), key=lambda found: found.half)
    n, nodes = int(pairs.n.sum()), int((pairs.n.sum(1) > 0).sum())
    return Bet(
        n=n,
        nodes=nodes,
        enough=n >= gates.min_labels and nodes >= gates.min_node_share * len(pairs.n),
        effect=told.effect,
        low=max(-1.0, told.effect - told.half),
        high=min(1.0, told.effect + told.half),
        log_worse=weighted_bets(
            (_ON_PAIRS, _bet_on_worse(pairs)),
            (_ON_SHADOWS, _bet_on_worse(shadows)),
            (_ON_NODES, _node_bets(pairs, margin)),
        ),
        log_fine=mean_of_bets(_bet_on_fine(pairs, margin), _bet_on_fine(shadows, margin)),
        phi=told.phi,
        by_node=(told.answers.gains - told.answers.losses).sum(1),
        shadowed=int(shadows.n.sum()) if told.answers is shadows else 0,
    )


def agreement_bet(canary: Tally, gates: Gates) -> Bet:
    """Return the bets on the share of shadowed answers that agree."""
    shadowed, off = canary.counts["shadowed"], canary.counts["disagreed"]
    n, hits = float(shadowed.sum()), float(off.sum())
    limit = 1 - gates.accuracy.min_agreement
    phi = dispersion(shadowed, off, share_variance(n, hits))
    low, high = wilson(hits, n, _Z, phi)
    nodes = int((shadowed.sum(1) > 0).sum())
    return Bet(
        n=int(n),
        nodes=nodes,
        enough=n >= gates.min_labels and nodes >= gates.min_node_share * len(shadowed),
        effect=limit - hits / n if n else 0.0,
        low=limit - high,
        high=limit - low,
        log_worse=log_bet_on_share_above(n, hits, limit, phi),
        log_fine=log_bet_on_share_below(n, hits, limit, phi),
        phi=phi,
        by_node=limit * shadowed.sum(1) - off.sum(1),
    )


def errors_bet(canary: Tally, margin: float) -> float:
    """Return log capital against "the canary's error rate is the margin or more".

    The controls' rate is not below zero, so a canary rate below the margin is within it. It helps
    where nobody errs: then the re-randomisation test has nothing to compare.
    """
    requests, errors = canary.requests, canary.errors
    n, hits = float(requests.sum()), float(errors.sum())
    phi = dispersion(requests, errors, share_variance(n, hits))
    return log_bet_on_share_below(n, hits, margin, phi)


def presence_bet(came: Floats, due: Floats, margin: float) -> float:
    """Return log capital against "the canary's nodes are silent in a share `margin` of windows".

    `came` and `due` count windows of each canary node. It is for fleets of a few nodes, where there
    is hardly any other draw to compare with.
    """
    silent, sizes = (due - came)[:, np.newaxis], due[:, np.newaxis]
    n, hits = float(sizes.sum()), float(silent.sum())
    phi = dispersion(sizes, silent, share_variance(n, hits))
    return log_bet_on_share_below(n, hits, margin, phi)


class _Estimate(NamedTuple):
    answers: _Answers
    effect: float
    half: float
    phi: float


def _estimated(answers: _Answers) -> _Estimate:
    n, gains, losses, unknown = (float(part.sum()) for part in answers)
    if not n:
        return _Estimate(answers, 0.0, 1.0, 1.0)
    variance = difference_variance(n, gains, losses)
    phi = dispersion(answers.n, answers.gains - answers.losses, variance)
    half = _Z * math.sqrt(phi * variance / n) + unknown / n
    return _Estimate(answers, (gains - losses) / n, half, phi)


def _bet_on_worse(answers: _Answers) -> float:
    """Return log capital against "it is as good"; what has no label was a gain."""
    won, lost = answers.gains + answers.unknown, answers.losses
    n, gains, losses = float(answers.n.sum()), float(won.sum()), float(lost.sum())
    phi = dispersion(answers.n, won - lost, difference_variance(n, gains, losses))
    return log_bet_on_loss(min(gains, n - losses), losses, phi)


def _bet_on_fine(answers: _Answers, margin: float) -> float:
    """Return log capital against "it is worse by the margin"; what has no label was a loss."""
    won, lost = answers.gains, answers.losses + answers.unknown
    n, gains, losses = float(answers.n.sum()), float(won.sum()), float(lost.sum())
    phi = dispersion(answers.n, won - lost, difference_variance(n, gains, losses))
    return log_bet_on_loss_below(n, gains, min(losses, n - gains), margin, phi)


def _node_bets(pairs: _Answers, margin: float) -> float:
    """Return log capital against "no node is worse by more than the margin", evenly split.

    Against the margin and not against zero: nodes differ a little for every model, and the one that
    suits it least must not speak for all. Each bet is tempered by how its own node's windows
    differ; a node with too few windows to tell keeps its stake.
    """
    n, gains, losses = (part.sum(1) for part in (pairs.n, pairs.gains, pairs.losses))
    variances = difference_variances(n, gains, losses)
    phi = np.maximum(1.0, design_effects(pairs.n, pairs.gains - pairs.losses, variances))
    logs = log_bets_on_loss_below(n, losses, gains, margin=-margin, phi=phi)
    return mean_of_bets(*np.where((pairs.n > 0).sum(1) >= FEWEST_BLOCKS, logs, 0.0))
