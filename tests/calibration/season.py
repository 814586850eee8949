"""One simulated soak: its evidence look by look, and how the product's gate ends it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgefleet.fleet.finding import Outcome
from edgefleet.fleet.gate import judge, open_gate
from edgefleet.fleet.sheets import Sheet
from edgefleet.fleet.tally import Floats, Tally
from edgefleet.spec import Gates
from tests.calibration.labels import NAMES, label_counts
from tests.calibration.plant import DESIGNS, FIRST, Effect, Fleet, Plant, design_of, fleet_of
from tests.calibration.traffic import Traffic

_LABELS = frozenset(NAMES)


def sheets(plant: Plant, effect: Effect, seed: int) -> Iterator[Sheet]:
    """Yield the evidence of one soak up to each of its windows."""
    fleet = fleet_of(plant, effect, seed)
    traffic = Traffic(fleet)
    counts = label_counts(fleet) | {
        "ok": (traffic.requests - traffic.errors).astype(np.float64),
        "server_errors": traffic.errors.astype(np.float64),
        "refused": np.zeros(plant.size),
    }
    come = _coming(fleet)
    past, now = slice(0, plant.pre), plant.pre
    before = Tally(
        {name: table[:, past] for name, table in counts.items()},
        fleet.online[:, past],
        traffic.past(),
    )
    histograms = np.zeros_like(before.histograms)
    for look in range(plant.looks):
        histograms += traffic.window(look)
        windows = slice(now, now + look + 1)
        after = {name: table[:, windows] for name, table in counts.items()}
        if come is not None:
            here = come[:, : look + 1] <= look
            after |= {name: after[name] * here for name in _LABELS}
        yield Sheet(
            before,
            Tally(after, fleet.online[:, windows], histograms),
            fleet.canary,
            fleet.control,
        )


def judged(plant: Plant, effect: Effect, gates: Gates, seed: int) -> tuple[Outcome, int]:
    """Return how the gate ends a soak, and at which look."""
    design = design_of(plant, seed % DESIGNS)
    state = open_gate(design, gates)
    outcome, number = Outcome.INCONCLUSIVE, 0
    for number, sheet in enumerate(sheets(plant, effect, seed), 1):
        state, verdict = judge(state, design, gates, sheet, FIRST + number - 1)
        outcome = verdict.outcome
        if outcome is not Outcome.INCONCLUSIVE:
            break
    return outcome, number


def _coming(fleet: Fleet) -> Floats | None:
    """Return the look by which each window's labels are there; None: at once."""
    plant = fleet.plant
    if not plant.late:
        return None
    delay = fleet.rng.geometric(1 / (1 + plant.late), (plant.nodes, plant.looks)) - 1
    due: Floats = np.arange(plant.looks) + delay.astype(np.float64)
    return due
