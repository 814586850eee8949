"""Simulated vigils of the guard: days of a released model, in which it stays as it is, or does not.

The fleet, its load and its errors are those of the gate's calibration. Each node differs for good
and drifts, with the old model as with the new; the model before answers a sample of the requests.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple

import numpy as np

from edgefleet.fleet.alarms import Cause
from edgefleet.fleet.guard import GuardState, Run, acknowledged
from edgefleet.fleet.places import FLEET, factory_of, node_of
from edgefleet.fleet.streams import Counts
from edgefleet.fleet.tally import Floats, capped
from edgefleet.spec import Guard, Spec
from tests.calibration.plant import Effect, Fleet, Plant, drift, fleet_of, noise
from tests.calibration.traffic import Traffic

Where = Literal["nowhere", "node", "factory", "fleet"]

_CHURN: Final = 0.4
LEARN: Final = 1440
WATCHES: Final = {"nowhere": 2880, "node": 2880, "factory": 720, "fleet": 240}
"""Windows that are watched once a day has taught what is usual."""
EVERY: Final = 15
"""Windows from one run of the guard to the next."""


@dataclass(frozen=True, slots=True)
class Vigil:
    """What is simulated."""

    plant: Plant
    where: Where = "nowhere"
    drop: float = 0.0
    alike: bool = False
    """The model before loses it too."""
    false_alarm_days: float = 90.0

    @property
    def spec(self) -> Spec:
        """A spec with the defaults, but for what is stated here."""
        guard = Guard(false_alarm_days=self.false_alarm_days, learn_windows=LEARN)
        return Spec(workload="sorting", model="sorter", selector={"line": "camera"}, guard=guard)


class Seen(NamedTuple):
    """How one vigil ended."""

    windows: int
    """Watched, after what is usual was learnt."""
    alarms: int
    """False ones; each was taken note of."""
    found: int | None = None
    """Windows from the drop to the alarm at its place; None: there was none."""
    named: int | None = None
    """Windows from the drop until its cause was told; None: it never was."""
    cause: Cause = Cause.UNTOLD


@dataclass(frozen=True, slots=True, eq=False)
class _Field:
    """Counts of a plant over all windows, drawn before they are watched."""

    fleet: Fleet
    traffic: Traffic
    added: Floats
    """What the new model adds to the accuracy of the one before it."""

    def windows(self, vigil: Vigil, first: int, last: int) -> Iterator[tuple[int, Counts]]:
        """Yield each window's counts; the drop of a vigil begins with the first one."""
        plant = self.fleet.plant
        rng = np.random.default_rng((self.fleet.rng.integers(1 << 30), first))
        lost = vigil.drop * _hit(self.fleet, vigil.where)
        for window in range(first, last):
            online = self.fleet.online[:, window]
            old = np.clip(self.fleet.accuracy[:, window] - lost * vigil.alike, 0.01, 0.999)
            added = self.added[:, window] - lost * (not vigil.alike)
            n = rng.poisson(plant.labels / plant.repeated, plant.nodes) * online
            wrong = rng.binomial(n, 1 - np.clip(old + added, 0, 1))
            requests = self.traffic.requests[:, window]
            shadowed = rng.binomial(requests, vigil.spec.guard.shadow_rate)
            lose = (1 - old) * _CHURN / old + np.maximum(-added, 0) / old
            gain = _CHURN + np.maximum(added, 0) / (1 - old)
            right = rng.binomial(shadowed, old)
            losses = rng.binomial(right, np.clip(lose, 0, 1))
            gains = rng.binomial(shadowed - right, np.clip(gain, 0, 1))
            share = plant.labels / plant.requests
            pairs = [rng.binomial(part, share) for part in (gains, losses)]
            alike = rng.binomial(shadowed - gains - losses, share)
            known = (gains, losses) if plant.labels_first else pairs
            tables = (
                *(plant.repeated * n, plant.repeated * wrong, requests),
                capped(self.traffic.errors[:, window], requests),
                *(pairs[0] + pairs[1] + alike, *pairs),
                *(shadowed, *known, gains + losses - known[0] - known[1], gains + losses),
            )
            yield window, Counts(*(table.astype(np.float64) for table in tables))


def vigils(kinds: tuple[Vigil, ...], seed: int) -> list[Seen]:
    """Return how vigils over one fleet end, all of one plant; they share the day that teaches."""
    plant = replace(kinds[0].plant, pre=0, looks=LEARN + max(WATCHES[k.where] for k in kinds))
    fleet = fleet_of(plant, Effect(), seed)
    rng = fleet.rng
    added = noise(plant, rng, (plant.nodes, 1), plant.own_sd) + drift(
        plant, rng, plant.size, plant.own_drift
    )
    drawn = _Field(fleet, Traffic(fleet), added)
    factories = {member.node: member.factory for member in fleet.design.nodes}
    calm = replace(kinds[0], where="nowhere", drop=0.0)
    run = Run(calm.spec, GuardState(-1, factories))
    for window, counts in drawn.windows(calm, 0, LEARN):
        run.count(window, counts)
    learnt = acknowledged(run.state(LEARN - 1, {}))
    return [_watched(vigil, drawn, learnt) for vigil in kinds]


def _watched(vigil: Vigil, drawn: _Field, state: GuardState) -> Seen:
    last = LEARN + WATCHES[vigil.where]
    seen, run = Seen(last - LEARN, 0), Run(vigil.spec, state)
    for window, counts in drawn.windows(vigil, LEARN, last):
        run.count(window, counts)
        there = [a for a in run.alarms if _there(drawn.fleet, vigil, a.place)]
        if there and seen.found is None:
            seen = seen._replace(found=window - LEARN + 1)
        if len(run.alarms) > len(there) and vigil.where == "nowhere":
            seen = seen._replace(alarms=seen.alarms + len(run.alarms))
            run = Run(vigil.spec, acknowledged(run.state(window, {})))
        if there and (window + 1) % EVERY == 0:
            causes = {a.cause for a in run.told() if _there(drawn.fleet, vigil, a.place)}
            if told := causes - {Cause.UNTOLD}:
                # By pairs and by labels: what is said of the model is what an operator acts upon.
                cause = Cause.MODEL if Cause.MODEL in told else Cause.SURROUNDINGS
                return seen._replace(named=window - LEARN + 1, cause=cause)
    return seen


def _hit(fleet: Fleet, where: Where) -> Floats:
    """Return which nodes lose: none, the first, the first factory's, or all."""
    hit = {
        "nowhere": np.zeros(fleet.plant.nodes),
        "node": np.arange(fleet.plant.nodes) == 0,
        "factory": fleet.factory == 0,
        "fleet": np.ones(fleet.plant.nodes),
    }[where]
    return hit.astype(np.float64)


def _there(fleet: Fleet, vigil: Vigil, place: str) -> bool:
    """Say whether an alarm is at the place that lost, and not at another one."""
    member = fleet.design.nodes[0]
    return {
        "nowhere": False,
        "node": node_of(place) == member.node,
        "factory": factory_of(place) == member.factory,
        "fleet": place == FLEET,
    }[vigil.where]
