"""Accuracy by pairs: the old and the new model answered the same requests on the canary's nodes.

Samples are gains (new right, old wrong), losses, and the rest. Two bets against "worse by the
margin or more" share the stake for a PASS: on labelled pairs; and on all shadowed answers, where a
disagreement without a label counts as a loss, so that a model that hardly ever disagrees passes
without labels. A FAIL is bets on labelled pairs alone: half of the stake on all nodes together,
half spread over the nodes one by one, since a model that ruins some lines more than others makes
nodes differ so much that the pooled bet is tempered away. Where the spec judges by agreement, the
bets are on the share of answers that agree. Bets stay valid at every look.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgefleet.fleet.stats import (
    FEWEST_BLOCKS,
    design_effect,
    difference_variance,
    dispersion,
    log_bet_on_loss,
    log_bet_on_loss_below,
    log_bet_on_share_above,
    log_bet_on_share_below,
    mean_of_bets,
    share_variance,
    wilson,
    z_of,
)
from edgefleet.fleet.tally import Floats, Tally
from edgefleet.spec import Gates

_Z: float = z_of(0.95)


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


def paired_bet(canary: Tally, gates: Gates) -> Bet:
    """Return the bets on pairs; `canary` holds the canary's nodes only."""
    counts = canary.counts
    pairs, net = counts["paired"], counts["gains"] - counts["losses"]
    n, gains, losses = (float(counts[name].sum()) for name in ("paired", "gains", "losses"))
    variance = difference_variance(n, gains, losses)
    phi = dispersion(pairs, net, variance)
    effect = (gains - losses) / n if n else 0.0
    half = _Z * math.sqrt(phi * variance / n) if n else 1.0
    margin = gates.accuracy.margin_pt / 100
    with_labels = log_bet_on_loss_below(n, gains, losses, margin, phi)
    nodes = int((pairs.sum(1) > 0).sum())
    return Bet(
        n=int(n),
        nodes=nodes,
        enough=n >= gates.min_labels and nodes >= gates.min_node_share * len(pairs),
        effect=effect,
        low=max(-1.0, effect - half),
        high=min(1.0, effect + half),
        log_worse=mean_of_bets(log_bet_on_loss(gains, losses, phi), _node_bets(canary, margin)),
        log_fine=mean_of_bets(with_labels, _shadow_bet(canary, margin)),
        phi=phi,
        by_node=net.sum(1),
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


def _node_bets(canary: Tally, margin: float) -> float:
    """Return log capital against "no node is worse by more than the margin", evenly split.

    Against the margin and not against zero: nodes differ a little for every model, and the one that
    suits it least must not speak for all. Each bet is tempered by how its own node's windows
    differ; a node with too few windows to tell keeps its stake.
    """
    counts = canary.counts
    logs = []
    for pairs, gains, losses in zip(
        counts["paired"], counts["gains"], counts["losses"], strict=True
    ):
        if (pairs > 0).sum() < FEWEST_BLOCKS:
            logs.append(0.0)
            continue
        n, won, lost = (float(part.sum()) for part in (pairs, gains, losses))
        phi = max(1.0, design_effect(pairs, gains - losses, difference_variance(n, won, lost)))
        logs.append(log_bet_on_loss_below(n, lost, won, -margin, phi))
    return mean_of_bets(*logs)


def _shadow_bet(canary: Tally, margin: float) -> float:
    counts = canary.counts
    unknown = np.maximum(counts["disagreed"] - counts["disagreed_labelled"], 0)
    won, lost = counts["shadow_gains"], counts["shadow_losses"] + unknown
    n, gains = float(counts["shadowed"].sum()), float(won.sum())
    losses = min(float(lost.sum()), n - gains)
    phi = dispersion(counts["shadowed"], won - lost, difference_variance(n, gains, losses))
    return log_bet_on_loss_below(n, gains, losses, margin, phi)
