"""How others judge a canary, on the same evidence: thresholds, and a test of time series.

They see one number of canary and controls for each window: the share of right answers, the p99, the
share of failed requests. `thresholds` is the manner of Argo Rollouts and Flagger: an absolute limit
for each, three windows in a row beyond one of them send the model back. `mann_whitney` is Kayenta's
manner: the two series are compared every five windows, at 98 %. Neither has a third outcome: what
is not sent back passes at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.stats import mannwhitneyu

from edgefleet.fleet.finding import Outcome
from edgefleet.fleet.sheets import Sheet
from edgefleet.fleet.tally import Floats, log_quantiles
from tests.calibration.season import sheets

if TYPE_CHECKING:
    from tests.calibration.cells import Cell

Series = Mapping[str, tuple[Floats, Floats]]
"""By metric: the canary's and the controls' number of each window, high is bad."""

_IN_A_ROW: Final = 3
_FIRST: Final = 10
_EVERY: Final = 5
_P: Final = 0.02
_USUAL: Final = {"accuracy": 0.05, "errors": 0.002}
"""What an operator knows of the plant: its share of wrong answers and of failed requests."""


def peers_on() -> dict[str, Callable[[Cell, int], tuple[Outcome, int]]]:
    """Return the judges by name."""
    return {"thresholds": thresholds, "Mann-Whitney": mann_whitney}


def thresholds(cell: Cell, seed: int) -> tuple[Outcome, int]:
    """Send back what is beyond a limit three times in a row."""
    series, usual_log_p99 = _series(cell, seed)
    gates = cell.gates
    limits = {
        "accuracy": _USUAL["accuracy"] + gates.accuracy.margin_pt / 100,
        "p99": usual_log_p99 + float(np.log1p(gates.latency.margin_pct / 100)),
        "errors": _USUAL["errors"] + gates.errors.margin_pt / 100,
    }
    looks = cell.plant.looks
    beyond = np.zeros((len(limits), looks), dtype=np.bool_)
    for row, (name, limit) in enumerate(limits.items()):
        beyond[row] = np.nan_to_num(series[name][0], nan=-np.inf) > limit
    thrice = beyond[:, 2:] & beyond[:, 1:-1] & beyond[:, :-2]
    hits = np.flatnonzero(thrice.any(0))
    if len(hits):
        return Outcome.FAIL, int(hits[0]) + _IN_A_ROW
    return Outcome.PASS, looks


def mann_whitney(cell: Cell, seed: int) -> tuple[Outcome, int]:
    """Send back what differs, and for the worse, by a test that takes windows as independent."""
    series, _ = _series(cell, seed)
    for look in range(_FIRST, cell.plant.looks + 1, _EVERY):
        for canary, control in series.values():
            mine, theirs = canary[:look], control[:look]
            mine, theirs = mine[~np.isnan(mine)], theirs[~np.isnan(theirs)]
            if len(mine) < _EVERY or len(theirs) < _EVERY or mine.mean() <= theirs.mean():
                continue
            if mannwhitneyu(mine, theirs, method="asymptotic").pvalue < _P:
                return Outcome.FAIL, look
    return Outcome.PASS, cell.plant.looks


def _series(cell: Cell, seed: int) -> tuple[Series, float]:
    """Return the series, and the log p99 of the nodes before the change."""
    grown = _grown(cell, seed)
    names = ("accuracy", "p99", "errors")
    table = np.array([_window(one) for one in grown])
    pooled = grown[0][0].before.histograms.sum(0).cumsum()[np.newaxis]
    series = {name: (table[:, 0, at], table[:, 1, at]) for at, name in enumerate(names)}
    return series, float(log_quantiles(pooled, 0.99)[0])


def _grown(cell: Cell, seed: int) -> list[tuple[Sheet, Floats]]:
    """Return each look's sheet with the latencies of its last window alone."""
    found = []
    last: Floats | None = None
    for sheet in sheets(cell.plant, cell.effect, seed):
        total = sheet.after.histograms.copy()
        found.append((sheet, total if last is None else total - last))
        last = total
    return found


def _window(grown: tuple[Sheet, Floats]) -> tuple[tuple[float, float, float], ...]:
    sheet, histograms = grown
    counts, errors, requests = sheet.after.counts, sheet.after.errors, sheet.after.requests
    sides = []
    for rows in (sheet.canary, sheet.control):
        labelled = counts["labelled"][rows, -1].sum()
        wrong = labelled - counts["correct"][rows, -1].sum()
        total, failed = requests[rows, -1].sum(), errors[rows, -1].sum()
        pooled = histograms[rows].sum(0).cumsum()[np.newaxis]
        sides.append(
            (
                wrong / labelled if labelled else np.nan,
                float(log_quantiles(pooled, 0.99)[0]) if pooled[0, -1] else np.nan,
                failed / total if total else np.nan,
            )
        )
    return tuple(sides)
