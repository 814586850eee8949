"""Where a new model differs most: the verdict's numbers by factory and by hardware class. Pure.

They describe and decide nothing: with a dozen slices one of them looks bad by chance alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from edgefleet.fleet.design import Design
from edgefleet.fleet.gate import draws_for
from edgefleet.fleet.scores import is_share, scores_of
from edgefleet.fleet.sheets import Sheet
from edgefleet.fleet.tally import Flags, Floats
from edgefleet.spec import Gates

WHOLE: Final = "canary"
_TIMES: Final = ("serving_us", "shadow_us", "shadowed")


@dataclass(frozen=True, slots=True)
class Slice:
    """One metric on the canary nodes of one factory, or of one hardware class."""

    by: str
    """`canary`, `factory` or `hardware`."""
    name: str
    metric: str
    nodes: int
    effect: float
    """Of accuracy the share gained less the share lost, else canary less controls; in `unit`."""
    unit: str
    n: int
    """Pairs, labels or requests."""


def slices_of(design: Design, gates: Gates, sheet: Sheet) -> tuple[Slice, ...]:
    """Return every slice in which the canary has nodes with evidence.

    A first release has nothing to compare with; a canary in one place is one slice.
    """
    if design.was is None:
        return ()
    metrics = [*_by_pairs(sheet), *_by_nodes(design, sheet, gates), *_inference_times(sheet)]
    members = [design.nodes[row] for row in sheet.canary]
    found = []
    for by, names in (
        (WHOLE, ["as a whole" for _ in members]),
        ("factory", [member.factory for member in members]),
        ("hardware", [member.hardware for member in members]),
    ):
        if by == WHOLE or len(set(names)) > 1:
            for name in sorted(set(names)):
                inside = np.array([other == name for other in names], dtype=np.bool_)
                found += [_slice(by, name, inside, metric) for metric in metrics]
    return tuple(one for one in found if one is not None)


@dataclass(frozen=True, slots=True)
class _Metric:
    """Of each canary node, in the order of the sheet."""

    name: str
    unit: str
    effects: Floats
    weights: Floats
    counts: Floats


def _by_pairs(sheet: Sheet) -> Iterator[_Metric]:
    counts = sheet.after.of(sheet.canary).counts
    pairs = counts["paired"].sum(1)
    if pairs.any():
        net = (counts["gains"] - counts["losses"]).sum(1)
        yield _Metric("accuracy", "pt", net / np.maximum(pairs, 1), pairs, pairs)


def _by_nodes(design: Design, sheet: Sheet, gates: Gates) -> Iterator[_Metric]:
    draws = draws_for(design)
    place = {int(row): at for at, row in enumerate(draws.real)}
    order = [place[int(row)] for row in sheet.canary]
    paired = bool(sheet.after.counts["paired"].any())
    requests = sheet.after.requests.sum(1)[sheet.canary]
    for score in scores_of(sheet, gates, paired=paired):
        counts = requests
        if score.name == "accuracy":
            counts = sheet.after.counts["labelled"].sum(1)[sheet.canary]
        unit = "pt" if is_share(score.name) else "%"
        off = draws.contrasts(score.values, score.weights)[order]
        yield _Metric(score.name, unit, off, score.weights[sheet.canary], counts)


def _inference_times(sheet: Sheet) -> Iterator[_Metric]:
    """Compare how long both models took for the same requests, alone: no queue, no network."""
    counts = sheet.after.of(sheet.canary).counts
    new, old, pairs = (counts[name].sum(1) for name in _TIMES)
    both = (new > 0) & (old > 0)
    if both.any():
        # Minus the log, like the scores of latencies.
        faster = np.log(np.where(both, old, 1.0) / np.where(both, new, 1.0))
        yield _Metric("inference", "%", faster, pairs * both, pairs)


def _slice(by: str, name: str, inside: Flags, metric: _Metric) -> Slice | None:
    weights = metric.weights * inside
    total = float(weights.sum())
    if not total:
        return None
    effect = float((weights * metric.effects).sum()) / total
    shown = 100 * effect
    if metric.unit == "%":
        shown = 100 * math.expm1(-effect)  # scores are minus the log latency
    elif metric.name == "errors":
        shown = -shown
    n = int((metric.counts * inside).sum())
    return Slice(by, name, metric.name, int((weights > 0).sum()), shown, metric.unit, n)
