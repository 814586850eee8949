"""What the re-randomisation test compares: one number for each node and metric, low is bad.

Each is the node's time after the change minus its own time before, so that a node that always was
slow or poor does not look like a degradation. Where fewer than half of the nodes have a past, all
are taken without it, and the text says so: noisier, and hand-picked nodes would then mislead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from edgefleet.fleet.sheets import Sheet
from edgefleet.fleet.tally import Floats, log_quantiles
from edgefleet.spec import Gates

LABELS_PRIOR: Final = 400
REQUESTS_PRIOR: Final = 1000
ERRORS_PRIOR: Final = 5000
WINDOWS_PRIOR: Final = 20
"""Beyond so many a node's own scatter outweighs its sampling noise: its weight grows no more."""
PRESENCE_MARGIN: Final = 0.4
PRESENCE_ALARM: Final = 0.2
"""Silence comes in spells: five nodes can show that it is not worse by the one within a soak, and
it is a failure from the other on, once it is proven."""
START_WINDOWS: Final = 3
"""Windows in which a changed node may still be starting, if it was never seen warm."""
LATENCY_SHRINK: Final = 0.9


@dataclass(frozen=True, slots=True)
class Score:
    """One metric of all nodes."""

    name: str
    values: Floats
    """Per node, low is bad, 0 where the weight is 0."""
    weights: Floats
    """Per node; 0: no evidence."""
    margin: float
    """In units of `values`: a PASS shows that it is not worse by as much."""
    shrink: float
    """On a PASS: a model that is worse by the margin would also scatter more."""
    enough: bool
    n: int
    canary: float | None
    control: float | None
    with_past: bool
    alarm: float
    """An estimate worse than this fails, once it is proven worse; mostly the margin."""


def is_share(metric: str) -> bool:
    """Say whether a metric is a share, told in points; the others are logs of latencies, in %."""
    return metric in {"accuracy", "errors", "presence"}


def scores_of(sheet: Sheet, gates: Gates, *, paired: bool = False) -> tuple[Score, ...]:
    """Return all that is compared between nodes; `paired`: accuracy is known better by pairs."""
    told = [*latency_scores(sheet, gates, gates.latency.quantiles), errors_score(sheet, gates)]
    if gates.accuracy.source == "labels" and not paired:
        told.append(accuracy_score(sheet, gates))
    return (*told, presence_score(sheet, gates))


def accuracy_score(sheet: Sheet, gates: Gates) -> Score:
    """Return the share of right answers of labelled requests; pairs, if there are any, say more."""
    before, after = sheet.before.counts, sheet.after.counts
    right, labels = after["correct"].sum(1), after["labelled"].sum(1)
    old_right, old_labels = before["correct"].sum(1), before["labelled"].sum(1)
    margin = gates.accuracy.margin_pt / 100
    canary, control = _pooled(sheet, right, labels)
    least = max(control or 0.0, margin + 0.01)
    shrink = np.sqrt(_spread(least) / _spread(least - margin))
    return _score(
        sheet,
        gates,
        "accuracy",
        (_ratio(right, labels), labels),
        (_ratio(old_right, old_labels), old_labels),
        prior=LABELS_PRIOR,
        margin=margin,
        shrink=min(1.0, float(shrink)),
        least=gates.min_labels,
        pooled=(canary, control),
    )


def presence_counts(sheet: Sheet) -> tuple[Floats, Floats]:
    """Return in how many windows each node was heard of, and in how many it was due."""
    after = sheet.after.seen
    width = after.shape[1]
    # A changed node counts from the window after it was first seen: seeing it chose that one.
    starts = np.zeros(len(after), dtype=np.int64)
    first = np.where(after.any(1), after.argmax(1) + 1, START_WINDOWS)
    starts[sheet.canary] = first[sheet.canary]
    counted = np.arange(width)[np.newaxis, :] >= starts[:, np.newaxis]
    came = (after & counted).sum(1).astype(np.float64)
    return came, np.maximum(width - starts, 0).astype(np.float64)


def presence_score(sheet: Sheet, gates: Gates) -> Score:
    """Return the share of windows with a word from the node: a crashing model sends none."""
    before = sheet.before.seen
    came, due = presence_counts(sheet)
    past = np.where(before.any(1), before.shape[1], 0).astype(np.float64)
    canary, control = _pooled(sheet, came, due)
    score = _score(
        sheet,
        gates,
        "presence",
        (_ratio(came, due), due),
        (_ratio(before.sum(1).astype(np.float64), past), past),
        prior=WINDOWS_PRIOR,
        margin=PRESENCE_MARGIN,
        shrink=1.0,
        least=gates.min_windows,
        pooled=(canary, control),
    )
    # All silent is a failure of the way to them, and says nothing about the model.
    heard = score.enough and bool(came[sheet.control].any())
    return replace(score, enough=heard, alarm=PRESENCE_ALARM)


def latency_scores(sheet: Sheet, gates: Gates, quantiles: Sequence[float]) -> tuple[Score, ...]:
    """Return minus the log of each latency quantile in seconds."""
    after, before = sheet.after.cumulated, sheet.before.cumulated
    sides = [after[rows].sum(0, keepdims=True) for rows in (sheet.canary, sheet.control)]
    counts, old_counts = after[:, -1], before[:, -1]
    scores = []
    for q in quantiles:
        canary, control = (
            float(np.exp(log_quantiles(side, q)[0])) if side[0, -1] else None for side in sides
        )
        scores.append(
            _score(
                sheet,
                gates,
                f"p{q * 100:g}",
                (-sheet.after.log_quantiles(q), counts),
                (-sheet.before.log_quantiles(q), old_counts),
                prior=REQUESTS_PRIOR,
                margin=float(np.log1p(gates.latency.margin_pct / 100)),
                shrink=LATENCY_SHRINK,
                least=gates.min_requests,
                pooled=(canary, control),
            )
        )
    return tuple(scores)


def errors_score(sheet: Sheet, gates: Gates) -> Score:
    """Return minus the error rate, bursts capped."""
    margin = gates.errors.margin_pt / 100
    requests, old_requests = sheet.after.requests.sum(1), sheet.before.requests.sum(1)
    capped, old_capped = sheet.after.capped_errors, sheet.before.capped_errors
    of_controls = capped[sheet.control].sum(), requests[sheet.control].sum()
    # Half an error more: none seen among the controls does not mean that there is none.
    usual = float((of_controls[0] + 0.5) / (of_controls[1] + 1))
    return _score(
        sheet,
        gates,
        "errors",
        (-_ratio(capped, requests), requests),
        (-_ratio(old_capped, old_requests), old_requests),
        prior=ERRORS_PRIOR,
        margin=margin,
        shrink=float(np.sqrt(usual / (usual + margin))),
        least=gates.min_requests,
        pooled=_pooled(sheet, sheet.after.errors.sum(1), requests),
    )


def _score(
    sheet: Sheet,
    gates: Gates,
    name: str,
    after: tuple[Floats, Floats],
    before: tuple[Floats, Floats],
    *,
    prior: float,
    margin: float,
    shrink: float,
    least: int,
    pooled: tuple[float | None, float | None],
) -> Score:
    """Subtract the past; `after` and `before` are (value, count) of each node."""
    (value, count), (old_value, old_count) = after, before
    here = count > 0
    with_past = bool(here.any()) and float((old_count[here] > 0).mean()) >= 0.5  # noqa: PLR2004 - half
    used = here & (old_count > 0) if with_past else here
    noise = 1 / np.maximum(count, 1) + 1 / prior
    if with_past:
        noise = noise + 1 / np.maximum(old_count, 1)
        value = value - old_value
    weights = np.where(used, 1 / noise, 0.0)
    mine = used[sheet.canary]
    n = int(count[sheet.canary].sum())
    share = float(mine.mean()) if len(mine) else 0.0
    enough = n >= least and share >= gates.min_node_share and bool(used[sheet.control].any())
    values = np.where(used, value, 0.0)
    return Score(name, values, weights, margin, shrink, enough, n, *pooled, with_past, margin)


def _pooled(sheet: Sheet, hits: Floats, n: Floats) -> tuple[float | None, float | None]:
    sides = ((hits[rows].sum(), n[rows].sum()) for rows in (sheet.canary, sheet.control))
    canary, control = (float(part / whole) if whole else None for part, whole in sides)
    return canary, control


def _ratio(part: Floats, whole: Floats) -> Floats:
    return part / np.maximum(whole, 1)


def _spread(share: float) -> float:
    return max(share * (1 - share), 1e-4)
