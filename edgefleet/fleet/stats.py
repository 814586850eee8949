"""The statistics that the gates share: bets, design effects, intervals. No fleet words in here.

A bet is an e-process: a gambler's capital against a hypothesis, which under that hypothesis reaches
1/alpha with probability alpha at most, however often one looks (Ville 1939). Samples of one node
resemble each other; a bet is therefore tempered, its logarithm divided by the dispersion seen
between nodes and blocks. With that it is an approximation, whose error rates are simulated.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

STAKES: Final[Floats] = np.geomspace(0.02, 0.9, 12)
"""Shares of the capital that are bet, averaged over: none of them has to be the right one."""
_LEAST_VARIANCE: Final = 1e-4
FEWEST_BLOCKS: Final = 3
"""Fewer do not tell how much blocks differ."""
_LEAST_LIMIT: Final = 1e-4


def log_bet_on_loss_below(
    n: float, gains: float, losses: float, margin: float, phi: float = 1.0
) -> float:
    """Return log capital against "the mean of n samples in {+1, 0, -1} is -margin or worse".

    `margin` may be negative: with gains and losses exchanged, a bet on a loss beyond it.
    """
    one = (np.array([part], dtype=np.float64) for part in (n, gains, losses))
    return float(log_bets_on_loss_below(*one, margin=margin, phi=np.array([phi]))[0])


def log_bets_on_loss_below(
    n: Floats, gains: Floats, losses: Floats, *, margin: float, phi: Floats
) -> Floats:
    """Return the same for several sets of samples; all of shape (sets,)."""
    stakes = STAKES[:, np.newaxis] / max(1.0, 1 - margin)  # no loss may take more than there is
    logs = (
        gains * np.log1p(stakes * (1 + margin))
        + losses * np.log1p(-stakes * (1 - margin))
        + (n - gains - losses) * np.log1p(stakes * margin)
    )
    mean: Floats = np.logaddexp.reduce(logs / phi, axis=0) - math.log(len(STAKES))
    return mean


def log_bet_on_loss(gains: float, losses: float, phi: float = 1.0) -> float:
    """Return log capital against "the mean of samples in {+1, 0, -1} is 0 or better"."""
    return mean_of_bets(*((gains * np.log1p(-STAKES) + losses * np.log1p(STAKES)) / phi))


def log_bet_on_share_below(n: float, hits: float, limit: float, phi: float = 1.0) -> float:
    """Return log capital against "the share of hits is `limit` or more"."""
    return log_bet_on_loss_below(n, 0, hits, limit, phi)


def log_bet_on_share_above(n: float, hits: float, limit: float, phi: float = 1.0) -> float:
    """Return log capital against "the share of hits is `limit` or less".

    A hit pays at most 1/limit times the stake, so the stakes reach as far: with those of the other
    bets a share forty times its limit would be found as slowly as one of twice.
    """
    stakes = np.geomspace(STAKES[0], STAKES[-1] / max(limit, _LEAST_LIMIT), 16)
    logs = hits * np.log1p(stakes * (1 - limit)) + (n - hits) * np.log1p(-stakes * limit)
    return mean_of_bets(*(logs / phi))


def mean_of_bets(*logs: float) -> float:
    """Return the log of the capitals' mean: an equal stake in each, together as valid as one."""
    return float(np.logaddexp.reduce(logs) - math.log(len(logs)))


def weighted_bets(*staked: tuple[float, float]) -> float:
    """Return the log of what (stake, log capital) pairs come to; the stakes sum to one."""
    return float(np.logaddexp.reduce([math.log(stake) + log for stake, log in staked]))


def design_effect(sizes: Floats, sums: Floats, variance: float) -> float:
    """Return Pearson's chi-square per degree of freedom of block sums around the pooled mean.

    `sizes` and `sums` have one value for each block; 1.0 where fewer than three hold samples.
    """
    return float(design_effects(sizes[np.newaxis], sums[np.newaxis], np.array([variance]))[0])


def design_effects(sizes: Floats, sums: Floats, variances: Floats) -> Floats:
    """Return the same for each row of blocks; `sizes` and `sums` have shape (rows, blocks)."""
    held = (sizes > 0).sum(1)
    means = sums.sum(1) / np.maximum(sizes.sum(1), 1e-12)
    off = sums - sizes * means[:, np.newaxis]
    spread = (off * off / np.where(sizes > 0, sizes, 1.0)).sum(1)
    told = (held >= FEWEST_BLOCKS) & (variances > 0)
    return np.where(told, spread / np.maximum((held - 1) * variances, 1e-12), 1.0)


def dispersion(sizes: Floats, sums: Floats, variance: float) -> float:
    """Return by how much samples in (node, window) blocks vary more than independent ones; >= 1.

    `sizes` and `sums` have shape (nodes, windows); the larger of the two levels counts.
    """
    of_nodes = design_effect(sizes.sum(1), sums.sum(1), variance)
    of_blocks = design_effect(sizes.ravel(), sums.ravel(), variance)
    return max(1.0, of_nodes, of_blocks)


def difference_variance(n: float, gains: float, losses: float) -> float:
    """Return the variance of one sample in {+1, 0, -1}, kept off zero."""
    one = (np.array([part], dtype=np.float64) for part in (n, gains, losses))
    return float(difference_variances(*one)[0])


def difference_variances(n: Floats, gains: Floats, losses: Floats) -> Floats:
    """Return the same for several sets of samples."""
    sizes = np.maximum(n, 1e-12)
    variance = (gains + losses) / sizes - ((gains - losses) / sizes) ** 2
    return np.where(n > 0, np.maximum(variance, _LEAST_VARIANCE), _LEAST_VARIANCE)


def share_variance(n: float, hits: float) -> float:
    """Return the variance of one sample in {0, 1}, kept off zero."""
    share = hits / n if n > 0 else 0.0
    return max(share * (1 - share), _LEAST_VARIANCE)


def z_of(confidence: float) -> float:
    """Return the two-sided normal quantile, 1.96 of 0.95."""
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def wilson(hits: float, n: float, z: float, phi: float = 1.0) -> tuple[float, float]:
    """Return Wilson's interval of a share; n is divided by the dispersion. (0, 1) of nothing."""
    n, hits = n / phi, hits / phi
    if n <= 0:
        return 0.0, 1.0
    share, spread = hits / n, z * z / n
    middle = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)
