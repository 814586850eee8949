"""A simulated fleet for calibration: what is true of its nodes, its models and its labels.

The worlds of the published figures: nodes differ for good (accuracy, latency, load), drift in time
(first-order autoregression), share their factory's shifts, drop out in spells and burst into
errors. `Effect` is what is true of the new model alone; the rest happens to old and new alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.special import expit, logit

from edgefleet.edge.contract import Digest
from edgefleet.fleet.cohorts import Member, order
from edgefleet.fleet.design import Design
from edgefleet.fleet.tally import Floats

Flags = NDArray[np.bool_]
Rows = NDArray[np.intp]

WAS: Final = Digest("sha256:" + "a" * 64)
WANT: Final = Digest("sha256:" + "b" * 64)
FIRST: Final = 1000
DESIGNS: Final = 4
"""Draws of the canary among which the runs of a cell take turns."""

_RHO: Final = 0.8


@dataclass(frozen=True, slots=True)
class Plant:
    """What is the same with either model; a window is a minute."""

    nodes: int = 200
    factories: int = 12
    canary: int = 10
    pre: int = 60
    looks: int = 60
    source: Literal["pairs", "labels", "none"] = "pairs"
    """Labels of both models' answers on the canary, of each node's one model, or none."""
    labels: float = 5.0
    """Of a node and window, on average."""
    requests: float = 500.0
    offline: float = 0.2
    node_sd: float = 0.02
    accuracy_drift: float = 0.3
    """Standard deviation of a node's logit in time."""
    lighting: float = 0.03
    """Accuracy that three factories lose half-way, with either model."""
    fouled: float = 0.0
    """Share of node-windows with a fouled camera: thirty points less, with either model."""
    own_sd: float = 0.005
    own_drift: float = 0.01
    """How the new model's effect differs between nodes, and in time."""
    repeated: int = 1
    """Each labelled frame counts so many times."""
    latency_drift: float = 0.08
    factory_drift: float = 0.05
    own_latency_sd: float = 0.0
    bursts: float = 1.0
    """Times the usual bursts of errors: of a fifth of a node's requests, a twentieth of all of a
    factory's."""
    heavy: bool = False
    """Student's t with three degrees of freedom instead of normal noise."""
    hidden: float = 0.0
    """Share of a node's worst windows (the lowest sixth) that are never heard of."""
    selective: float = 1.0
    """Share of the labels of right answers that come, where those of wrong ones all do."""
    late: float = 0.0
    """Mean delay of a window's labels, in windows."""
    shadowed: float = 0.0
    """Requests of a canary node and window that both models answer, besides the labelled ones."""
    labels_first: bool = False
    """The QA station labels all disagreements, before anything else."""
    hand_picked: float = 0.0
    """The canary's nodes were always so much worse: it was not drawn."""

    @property
    def size(self) -> tuple[int, int]:
        """Nodes and windows."""
        return self.nodes, self.pre + self.looks


@dataclass(frozen=True, slots=True)
class Effect:
    """What the new model does; the default is nothing at all."""

    drop: float = 0.0
    """Accuracy lost, as a share."""
    mix: tuple[tuple[float, float], ...] = ((1.0, 1.0),)
    """(share of the requests, factor on their latency)."""
    errors: float = 0.0
    """Share of the requests that fail besides."""
    silent: float = 0.0
    """Share of its windows that are not heard of, besides."""
    since: int = 0
    """Window of the soak from which accuracy suffers."""


@dataclass(frozen=True, slots=True, eq=False)
class Fleet:
    """One draw of a plant: who is who, and what its world is like."""

    plant: Plant
    effect: Effect
    design: Design
    rng: np.random.Generator
    canary: Rows
    control: Rows
    factory: NDArray[np.int64]
    accuracy: Floats
    """Of the old model, shape (nodes, windows)."""
    online: Flags


@lru_cache(maxsize=32)
def design_of(plant: Plant, number: int) -> Design:
    """Return one of a plant's designs: its canary is drawn as the product draws it."""
    members = tuple(
        Member(f"n{i:05d}", f"f{i % plant.factories:02d}", f"h{(i // plant.factories) % 2}")
        for i in range(plant.nodes)
    )
    salt = f"calibration/{number}"
    return Design(
        nodes=members,
        canary=order(members, salt)[: plant.canary],
        want=WANT,
        was=WAS,
        salt=salt,
        first_window=FIRST,
        pre=(FIRST - plant.pre, FIRST - 1) if plant.pre else None,
    )


def fleet_of(plant: Plant, effect: Effect, seed: int) -> Fleet:
    """Return the fleet of one simulated soak."""
    design = design_of(plant, seed % DESIGNS)
    rng = np.random.default_rng(seed)
    chosen = frozenset(design.canary)
    isin = np.array([member.node in chosen for member in design.nodes], dtype=np.bool_)
    canary = np.flatnonzero(isin)
    factory = np.arange(plant.nodes) % plant.factories
    accuracy, low = _accuracy(plant, rng, canary, factory)
    online = _online(plant, effect, rng, canary, low)
    return Fleet(
        plant, effect, design, rng, canary, np.flatnonzero(~isin), factory, accuracy, online
    )


def noise(plant: Plant, rng: np.random.Generator, size: tuple[int, ...], sd: float) -> Floats:
    """Return independent noise of standard deviation `sd`."""
    if plant.heavy:
        return sd * rng.standard_t(3, size) / np.sqrt(3)
    return rng.normal(0, sd, size)


def drift(plant: Plant, rng: np.random.Generator, size: tuple[int, int], sd: float) -> Floats:
    """Return rows of first-order autoregressions (0.8) of standard deviation `sd`."""
    steps = noise(plant, rng, size, sd)
    steps[:, 1:] *= np.sqrt(1 - _RHO * _RHO)
    path: Floats = lfilter([1.0], [1.0, -_RHO], steps, axis=1)
    return path


def added_accuracy(fleet: Fleet) -> Floats:
    """Return what the new model adds to accuracy, shape (canary nodes, looks)."""
    plant, rng = fleet.plant, fleet.rng
    size = len(fleet.canary), plant.looks
    added = noise(plant, rng, (size[0], 1), plant.own_sd) + drift(plant, rng, size, plant.own_drift)
    added[:, fleet.effect.since :] -= fleet.effect.drop
    return added


def _accuracy(
    plant: Plant, rng: np.random.Generator, canary: Rows, factory: NDArray[np.int64]
) -> tuple[Floats, Flags]:
    """Return every node's accuracy with the old model, and which windows are its worst."""
    sharp = 0.95 * 0.05 / plant.node_sd**2 - 1
    own = np.clip(rng.beta(0.95 * sharp, 0.05 * sharp, plant.nodes), 0.6, 0.998)
    own[canary] -= plant.hand_picked
    moves = drift(plant, rng, plant.size, plant.accuracy_drift)
    share: Floats = expit(logit(own)[:, np.newaxis] + moves)
    hit = np.isin(factory, rng.choice(plant.factories, 3, replace=False))
    lost = plant.lighting * rng.uniform(0.5, 1.5, int(hit.sum()))
    share[hit, plant.pre + plant.looks // 2 :] -= lost[:, np.newaxis]
    if plant.fouled:
        share -= 0.3 * (rng.random(plant.size) < plant.fouled)
    return np.clip(share, 0.02, 0.999), moves < -plant.accuracy_drift


def _online(
    plant: Plant, effect: Effect, rng: np.random.Generator, canary: Rows, low: Flags
) -> Flags:
    """Return who is heard of when: spells of ten windows on average, and what is hidden."""
    there = np.empty(plant.size, dtype=np.bool_)
    chance = rng.random(plant.size)
    there[:, 0] = chance[:, 0] >= plant.offline
    lost = 0.1 * plant.offline / (1 - plant.offline)
    for window in range(1, plant.size[1]):
        was = there[:, window - 1]
        there[:, window] = np.where(was, chance[:, window] >= lost, chance[:, window] < 0.1)
    if plant.hidden:
        there &= ~(low & (rng.random(plant.size) < plant.hidden))
    if effect.silent:
        there[canary, plant.pre :] &= rng.random((len(canary), plant.looks)) >= effect.silent
    return there
