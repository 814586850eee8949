"""Labels of a simulated fleet: of one model's answers, or of both on the same frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgefleet.fleet.tally import Floats
from tests.calibration.plant import Fleet, added_accuracy

Counts = NDArray[np.int64]

_CHURN: Final = 0.4
"""Share of the old model's mistakes that the new one does not make: 4 % discordant pairs."""
NAMES: Final = (
    *("labelled", "correct", "paired", "gains", "losses", "shadowed", "disagreed"),
    *("disagreed_labelled", "shadow_gains", "shadow_losses"),
)


def label_counts(fleet: Fleet) -> dict[str, Floats]:
    """Return the counts of labels and shadows by their names, shape (nodes, windows)."""
    nothing = np.zeros(fleet.plant.size)
    counts = dict.fromkeys(NAMES, nothing)
    if fleet.plant.source == "none":
        return counts
    if fleet.plant.source == "labels":
        return counts | _plain(fleet)
    for name, values in _paired(fleet).items():
        table = np.zeros(fleet.plant.size)
        table[fleet.canary, fleet.plant.pre :] = values
        counts[name] = table
    return counts


def _plain(fleet: Fleet) -> Mapping[str, Floats]:
    """Every node's own model is labelled: the old one, and on the canary later the new one."""
    plant, rng = fleet.plant, fleet.rng
    share = fleet.accuracy.copy()
    share[fleet.canary, plant.pre :] += added_accuracy(fleet)
    n = rng.poisson(plant.labels / plant.repeated, plant.size) * fleet.online
    right = rng.binomial(n, np.clip(share, 0, 1))
    kept = rng.binomial(right, plant.selective)
    times = float(plant.repeated)
    return {"labelled": times * (n - right + kept), "correct": times * kept}


def _paired(fleet: Fleet) -> Mapping[str, Floats]:
    """Both models answered the same frames on the canary's nodes; shape (canary nodes, looks)."""
    plant, rng = fleet.plant, fleet.rng
    accuracy, added = fleet.accuracy[fleet.canary, plant.pre :], added_accuracy(fleet)
    n, right, gains, losses = _both(fleet, plant.labels / plant.repeated, accuracy, added)
    dropped = rng.binomial(right - gains, 1 - plant.selective)  # of those both were right on
    labelled, correct = n - dropped, right - dropped
    labelled, correct, gains, losses = (
        plant.repeated * part for part in (labelled, correct, gains, losses)
    )
    more, _, more_gains, more_losses = _both(fleet, plant.shadowed, accuracy, added)
    seen = int(plant.labels_first)
    return {
        "labelled": labelled,
        "correct": correct,
        "paired": labelled,
        "gains": gains,
        "losses": losses,
        "shadowed": labelled + more,
        "disagreed": gains + losses + more_gains + more_losses,
        "disagreed_labelled": gains + losses + seen * (more_gains + more_losses),
        "shadow_gains": gains + seen * more_gains,
        "shadow_losses": losses + seen * more_losses,
    }


def _both(
    fleet: Fleet, rate: float, accuracy: Floats, added: Floats
) -> tuple[Counts, Counts, Counts, Counts]:
    """Return how many were asked, how often the new one was right, gained, and lost."""
    rng = fleet.rng
    n = rng.poisson(rate, accuracy.shape) * fleet.online[fleet.canary, fleet.plant.pre :]
    lose = (1 - accuracy) * _CHURN / accuracy + np.maximum(-added, 0) / accuracy
    gain = _CHURN + np.maximum(added, 0) / (1 - accuracy)
    old = rng.binomial(n, accuracy)
    losses = rng.binomial(old, np.clip(lose, 0, 1))
    gains = rng.binomial(n - old, np.clip(gain, 0, 1))
    return n, old + gains - losses, gains, losses
