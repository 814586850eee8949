"""The re-randomisation test: would another draw of the canary have looked this bad by itself?

Every draw of the canary, the real one first, is a path through the looks. By look k a share of
alpha has been spent: that many paths in all may have crossed, the most extreme living ones each
time. As the real path is one draw among them, the chance that it ever crosses without any effect is
alpha at most, whatever correlates in time, in a factory or on a node. It holds for a drawn canary
only. A tenth of alpha is kept for looks after the planned last one, if a person extends the soak.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgefleet.fleet.cohorts import Member, redraws

Floats = NDArray[np.float64]

KEPT: Final = 0.1
EARLY: Final = 0.5
"""Spend with the root of time: a bad model is found early."""
EVENLY: Final = 1.0
"""Spend in step with time: early looks hold too little to pass anything."""


@dataclass(frozen=True, slots=True)
class Paths:
    """Which draws have not crossed yet, as it is stored: one bit each, the real draw first."""

    alive: bytes
    draws: int
    used: int = 0

    @property
    def real_alive(self) -> bool:
        """Whether the real canary has not crossed."""
        return bool(self.alive[0] & 0x80)


def fresh(draws: int) -> Paths:
    """Return `draws` re-drawn paths and the real one, none of which has crossed."""
    return Paths(np.packbits(np.ones(draws + 1, dtype=np.bool_)).tobytes(), draws)


def spent(alpha: float, look: int, looks: int, power: float) -> float:
    """Return the share of the error budget that may have been spent by a look."""
    planned: float = min(look / looks, 1.0) ** power
    extra = min(max(look / looks - 1.0, 0.0), 1.0)
    return alpha * ((1 - KEPT) * planned + KEPT * extra)


def cross(paths: Paths, statistic: Floats, budget: float) -> tuple[Paths, bool]:
    """Return the paths after a look, and whether the real one crossed at it.

    `statistic` has one value for each path, the real one first, high is extreme; `budget` is what
    `spent` allows by now. Asked again at the same look, nothing more is spent.
    """
    new = int(budget * (paths.draws + 1) + 1e-9) - paths.used
    if new <= 0:
        return paths, False
    bits = np.unpackbits(np.frombuffer(paths.alive, np.uint8), count=paths.draws + 1)
    alive = bits.astype(np.bool_)
    living = np.flatnonzero(alive)
    values = statistic[living]
    # Ties count against the real path: with few nodes many draws are the same.
    hit = bool(alive[0]) and int((values >= statistic[0]).sum()) <= new
    top = living[np.argsort(-values, kind="stable")[:new]]
    if not hit:
        top = top[top != 0]
    alive[top] = False
    return Paths(np.packbits(alive).tobytes(), paths.draws, paths.used + len(top)), hit


@dataclass(frozen=True, slots=True, eq=False)
class Weighed:
    """Each node's weight, and what it comes to on every path."""

    weights: Floats
    some: NDArray[np.bool_]
    """Paths with a node of some weight."""
    divisor: Floats
    """Each path's sum of weights, kept off zero."""
    shift: Floats
    """What one more on each node of the real canary adds to each path's sum."""


@dataclass(frozen=True, slots=True, eq=False)
class Draws:
    """The real canary and its re-draws, as indices; and each node's factory, as a number."""

    drawn: NDArray[np.intp]
    """Shape (size of the canary, draws + 1); column 0 is the real one."""
    factory: NDArray[np.int64]
    factories: int
    same: float
    """Share of the draws, the real one counted, that took the very nodes of the canary."""

    @property
    def real(self) -> NDArray[np.intp]:
        """The canary's nodes."""
        real: NDArray[np.intp] = self.drawn[:, 0]
        return real

    @property
    def controls_share(self) -> float:
        """Share of the nodes that are not in the canary."""
        return 1 - len(self.real) / len(self.factory)

    def weighed(self, weights: Floats) -> Weighed:
        """Return what every path's means need of the weights alone."""
        real = np.zeros(len(weights))
        real[self.real] = 1.0
        total = self._sums(weights)
        shift = self._sums(self._off(real, weights))
        return Weighed(weights, total > 0, np.maximum(total, 1e-12), shift)

    def means(self, scores: Floats, by: Weighed, undone: float) -> tuple[Floats, Floats]:
        """Return each path's weighted mean of the scores less its factories' means.

        And the same with `undone` added to the scores of the real canary's nodes.
        """
        sums = self._sums(self._off(scores, by.weights))
        one, other = (part / by.divisor for part in (sums, sums + undone * by.shift))
        return np.where(by.some, one, 0.0), np.where(by.some, other, 0.0)

    def contrasts(self, scores: Floats, weights: Floats) -> Floats:
        """Return each canary node's score less the mean of its factory's controls.

        A factory without a control that gave evidence is compared with all controls.
        """
        control = weights.copy()
        control[self.real] = 0.0
        every = float((control * scores).sum() / max(float(control.sum()), 1e-12))
        held = np.bincount(self.factory, control, self.factories)
        means = np.where(held > 0, self._factory_means(scores, control), every)
        return np.where(weights > 0, scores - means[self.factory], 0.0)[self.real]

    def _sums(self, values: Floats) -> Floats:
        # `take` is three times as quick as an index, and a look does little else.
        sums: Floats = values.take(self.drawn, mode="clip").sum(0)
        return sums

    def _off(self, scores: Floats, weights: Floats) -> Floats:
        """Return each node's weighted distance from the mean over all nodes of its factory."""
        means = self._factory_means(scores, weights)
        return weights * np.where(weights > 0, scores - means[self.factory], 0.0)

    def _factory_means(self, scores: Floats, weights: Floats) -> Floats:
        held = np.bincount(self.factory, weights, self.factories)
        summed = np.bincount(self.factory, weights * scores, self.factories)
        return summed / np.maximum(held, 1e-12)


@lru_cache(maxsize=8)
def draws_of(nodes: tuple[Member, ...], canary: tuple[str, ...], salt: str, draws: int) -> Draws:
    """Return the draws of a design; the same arguments are computed once per process."""
    place = {member.node: index for index, member in enumerate(nodes)}
    real = np.array([[place[node] for node in canary]], dtype=np.int32).reshape(1, -1)
    again = redraws(nodes, len(canary), salt, draws)
    factories = {name: i for i, name in enumerate(sorted({m.factory for m in nodes}))}
    factory = np.array([factories[member.factory] for member in nodes], dtype=np.int64)
    drawn = np.vstack([real, again]).T.astype(np.intp, order="C")
    taken = np.sort(drawn, axis=0)
    same = float((taken == taken[:, :1]).all(0).mean())
    return Draws(drawn, factory, len(factories), same)


def share_as_extreme(statistic: Floats, value: float) -> float:
    """Return a p-value: the share of paths, the real one counted, that reach `value`."""
    return float((1 + (statistic[1:] >= value).sum()) / len(statistic))


def standardised(values: Floats) -> Floats:
    """Return values in units of their spread; as they are where they do not spread."""
    spread = float(values.std())
    return values / spread if spread > 0 else values


def most_extreme(rows: Sequence[Floats]) -> Floats:
    """Return, for each path, its most extreme metric (max-T)."""
    extreme: Floats = np.max(np.stack(rows), axis=0)
    return extreme
