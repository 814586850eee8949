"""What is usual at a place, learnt from its first windows: a share, how sure, how unsteady. Pure.

Nodes differ for good, so each has a share of its own: what it showed, drawn towards what all showed
as long as it has shown little. It begins with the windows of the release itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from edgefleet.fleet.detectors import BLOCK, pooled_phi
from edgefleet.fleet.places import Places
from edgefleet.fleet.stats import Floats

N, HITS, SQUARES, BLOCKS, WINDOWS, OPEN, OPEN_N, OPEN_HITS = range(8)
"""Columns of what is learnt: samples, hits, the sum of hits^2 / samples over closed blocks, closed
blocks, windows; and number, samples and hits of the block that is open."""
WIDTH: Final = 8
_LEAST: Final = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class Usual:
    """Of each place in one window."""

    share: Floats
    error: Floats
    """Standard error of the share."""


def learn(learnt: Floats, window: int, n: Floats, hits: Floats, most: int) -> Floats:
    """Return what is learnt with one window more; places that have `most` learn nothing more."""
    here = (n > 0) & (learnt[:, WINDOWS] < most)
    if not here.any():
        return learnt
    out = learnt.copy()
    full = here & (out[:, OPEN] != window // BLOCK) & (out[:, OPEN_N] > 0)
    out[full, SQUARES] += out[full, OPEN_HITS] ** 2 / out[full, OPEN_N]
    out[full, BLOCKS] += 1
    out[full, OPEN_N] = out[full, OPEN_HITS] = 0.0
    out[here, OPEN] = window // BLOCK
    for column, counts in ((N, n), (HITS, hits), (OPEN_N, n), (OPEN_HITS, hits), (WINDOWS, here)):
        out[here, column] += counts[here]
    return out


def phis(places: Places, learnt: Floats) -> Floats:
    """Return each place's dispersion: one for all nodes, one for all factories, one of the fleet.

    A single node's blocks are too few to tell it.
    """
    out = np.ones(len(learnt))
    for rows in places.levels():
        part = learnt[rows]
        sizes, sums = part[:, N] - part[:, OPEN_N], part[:, HITS] - part[:, OPEN_HITS]
        out[rows] = pooled_phi(sizes, sums, part[:, SQUARES], part[:, BLOCKS])
    return out


def usual_shares(places: Places, learnt: Floats, phi: Floats, counts: Floats, sd: float) -> Usual:
    """Return what is usual for the samples of one window, `counts` of them at each node.

    `sd`: by how much nodes differ for good. A factory's and the fleet's share is the mean over the
    nodes whose samples they are: others may be there than usual.
    """
    nodes, *_ = places.levels()
    own, all_n = learnt[nodes], float(learnt[-1, N])
    common = float(np.clip((learnt[-1, HITS] + 0.5) / (all_n + 1), _LEAST, 1 - _LEAST))
    spread = common * (1 - common)
    drawn = spread / sd**2
    share = (own[:, HITS] + drawn * common) / (own[:, N] + drawn)
    told = max(int((own[:, N] > 0).sum()), 1)
    unsure = phi[-1] * spread / max(all_n, 1.0) + sd**2 / told
    shared = drawn / (own[:, N] + drawn)
    square = phi[nodes] * spread / (own[:, N] + drawn)
    of = np.maximum(places.pooled(counts), 1e-12)
    apart = places.pooled(counts**2 * square) / of**2
    together = places.pooled(counts * shared) / of
    error = np.sqrt(apart + together**2 * unsure)
    return Usual(places.pooled(counts * share) / of, error)
