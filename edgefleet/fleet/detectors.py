"""Sequential detectors for ever: sums of bets that are begun at every step. No fleet words in here.

An e-process is a capital that does not grow on average while a hypothesis holds. One is begun at
every step, since nobody knows when something will change, and their sum M follows from the one
before it: M <- (M + 1) L, where L is what the step's samples pay ("e-SR": Shin, Ramdas, Rinaldo
2023). While the hypothesis holds, M less the number of steps does not grow on average, however the
samples depend on each other's past, so an alarm at M >= A comes after A steps on average, or later.
Of several streams with weights that sum to one, the weighted sum has the same property: a stream
with weight w alarms at A / w. What is kept is log(1 + M), a few numbers for each stream.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from edgefleet.fleet.stats import Floats

STEPS: Final[Floats] = np.array([0.5, 1.0, 2.0, 4.0, 8.0])
"""Each bet on a share pays most when it is beyond its limit by so many margins."""
STAKES: Final[Floats] = np.array([0.05, 0.1, 0.2, 0.4, 0.8])
"""Shares of the capital that are bet on pairs."""
MOST_PAID: Final = float(np.log(4))
"""Log of what one step may pay: a burst, however bad, is no lasting change. The hypothesis is no
less safe for it, since it only takes away."""
BLOCK: Final = 15
"""Steps whose samples are taken together, to see how much more they vary than independent ones."""
USUAL_PHI: Final = 1.5
_USUAL_BLOCKS: Final = 8
"""What is assumed of the dispersion before it is known, and for how many blocks that counts."""
_MOST: Final = 0.98
_LEAST: Final = 1e-4


def grown(held: Floats, paid: Floats, there: Floats) -> Floats:
    """Return log(1 + M) after a step; `held` and `paid`: (bets, streams); no sample, no step."""
    return np.where(there > 0, np.logaddexp(0.0, held + np.minimum(paid, MOST_PAID)), held)


def strength(held: Floats) -> Floats:
    """Return log(1 + M) of each stream, an equal stake in each of its bets."""
    mean: Floats = np.logaddexp.reduce(held, axis=0) - np.log(len(held))
    return mean


def paid_on_share(n: Floats, hits: Floats, limit: Floats, margin: float, phi: Floats) -> Floats:
    """Return log L against "the share of hits is `limit` or less", shape (bets, streams).

    Likelihood ratios: valid for samples with different shares too, if their mean is in the limit.
    """
    known = np.clip(limit, _LEAST, _MOST)
    rivals = np.minimum(known + STEPS[:, np.newaxis] * margin, (1 + known) / 2)
    up, down = np.log(rivals / known), np.log((1 - rivals) / (1 - known))
    paid: Floats = (hits * up + (n - hits) * down) / phi
    return paid


def paid_on_pairs(n: Floats, gains: Floats, losses: Floats, margin: float, phi: Floats) -> Floats:
    """Return log L against "gains less losses are -margin of the pairs, or better"."""
    stakes = STAKES[:, np.newaxis] / (1 + margin)
    paid: Floats = (
        gains * np.log1p(-stakes * (1 + margin))
        + losses * np.log1p(stakes * (1 - margin))
        + (n - gains - losses) * np.log1p(-stakes * margin)
    ) / phi
    return paid


def pooled_phi(sizes: Floats, sums: Floats, squares: Floats, blocks: Floats) -> float:
    """Return the dispersion of several streams' blocks, each around its own mean; at least 1.

    Of each stream: samples and hits in closed blocks, the sum over blocks of hits^2 / samples, and
    how many blocks held samples. Pearson's chi-square per degree of freedom,
    from sums that can be carried on; while blocks are few, what is usual counts too.
    """
    shares = np.clip(sums / np.maximum(sizes, 1e-12), _LEAST, 1 - _LEAST)
    off = squares - sums * sums / np.maximum(sizes, 1e-12)
    told = blocks > 1
    spread = float((off / (shares * (1 - shares)))[told].sum())
    free = float((blocks - 1)[told].sum())
    return max(1.0, (spread + USUAL_PHI * _USUAL_BLOCKS) / (free + _USUAL_BLOCKS))
