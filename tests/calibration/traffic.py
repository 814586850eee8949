"""Requests of a simulated fleet: how many came, failed, and how long the others took."""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy.special import ndtr

from edgefleet.edge.contract import BOUNDS_S
from edgefleet.fleet.tally import Floats
from tests.calibration.plant import Fleet, drift, noise

_SLOW: Final = (0.005, float(np.log(4)))
"""Share of all requests that take four times as long."""
_LOG_BOUNDS: Final = np.log(np.array(BOUNDS_S))
_MEDIAN: Final = float(np.log(5e-3))
_DAY: Final = 120
"""Windows of one swing of the load."""
_SWING: Final = 0.4
_SPREADS: Final = (0.4, 0.55)
"""Standard deviation of a request's log latency on either class of hardware."""
_AT_ONCE: Final = 10


class Traffic:
    """Load, errors and latencies; histograms are drawn window by window, as they are asked for."""

    def __init__(self, fleet: Fleet) -> None:
        plant, rng = fleet.plant, fleet.rng
        nodes, width = plant.size
        self._fleet = fleet
        tide = _SWING * np.sin(2 * np.pi * np.arange(width) / _DAY)
        usual = rng.lognormal(np.log(plant.requests), 0.5, (nodes, 1))
        usual = usual.clip(plant.requests / 5, plant.requests * 2)
        self.requests = rng.poisson(usual * (1 + tide)) * fleet.online
        self.errors = rng.binomial(self.requests, self._failing())
        slow = np.array([member.hardware == "h1" for member in fleet.design.nodes])
        self._spread = np.where(slow, *reversed(_SPREADS))
        shared = drift(plant, rng, (plant.factories, width), plant.factory_drift)
        self._level = (
            _MEDIAN
            + noise(plant, rng, (nodes, 1), 0.3)
            + 0.4 * slow[:, np.newaxis]
            + drift(plant, rng, plant.size, plant.latency_drift)
            + shared[fleet.factory]
            + 0.2 * tide * (1 + slow[:, np.newaxis])
        )
        own = noise(plant, rng, (plant.canary, 1), plant.own_latency_sd)
        self._level[fleet.canary, plant.pre :] += own

    def past(self) -> Floats:
        """Return each node's histogram over all windows before the change."""
        plant = self._fleet.plant
        expected = np.zeros((plant.nodes, len(BOUNDS_S) + 1))
        for first in range(0, plant.pre, _AT_ONCE):
            windows = slice(first, min(first + _AT_ONCE, plant.pre))
            shares = self._shares(self._level[:, windows], self._spread[:, np.newaxis])
            expected += (shares * self._answered()[:, windows, np.newaxis]).sum(1)
        return self._fleet.rng.poisson(expected).astype(np.float64)

    def window(self, look: int) -> Floats:
        """Return each node's histogram of one window of the soak, from 0."""
        fleet = self._fleet
        column = fleet.plant.pre + look
        shares = self._shares(self._level[:, column], self._spread)
        level, spread = self._level[fleet.canary, column], self._spread[fleet.canary]
        shares[fleet.canary] = sum(
            share * self._shares(level + np.log(factor), spread)
            for share, factor in fleet.effect.mix
        )
        answered = self._answered()[:, column, np.newaxis]
        return fleet.rng.poisson(shares * answered).astype(np.float64)

    def _answered(self) -> Floats:
        return (self.requests - self.errors).astype(np.float64)

    def _failing(self) -> Floats:
        fleet, plant, rng = self._fleet, self._fleet.plant, self._fleet.rng
        base = rng.gamma(1.0, 0.001, (plant.nodes, 1))
        share = base * np.exp(drift(plant, rng, plant.size, 0.8) - 0.32)
        share = share + 0.2 * (rng.random(plant.size) < 0.002 * plant.bursts)
        hit = rng.random((plant.factories, plant.size[1])) < 0.003 * plant.bursts
        share = share + 0.05 * hit[fleet.factory]
        share[fleet.canary, plant.pre :] += fleet.effect.errors
        return share.clip(0, 0.5)

    @staticmethod
    def _shares(level: Floats, spread: Floats) -> Floats:
        """Return the share of each bucket, one axis more than `level`."""
        beyond = (_LOG_BOUNDS - level[..., np.newaxis]) / spread[..., np.newaxis]
        share, log_factor = _SLOW
        slow = (_LOG_BOUNDS - log_factor - level[..., np.newaxis]) / spread[..., np.newaxis]
        below = (1 - share) * ndtr(beyond) + share * ndtr(slow)
        shares: Floats = np.diff(below, axis=-1, prepend=0.0, append=1.0).clip(0)
        return shares
