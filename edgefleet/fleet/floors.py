"""Absolute floors: they judge a first release, and no later canary may miss one either.

Each is a share that must stay below a limit: wrong answers, errors, requests slower than the p99
limit (one in a hundred). Bets tempered by the dispersion between nodes and windows decide, Wilson's
intervals are shown. A first release must be shown to be on the good side; a later canary, which is
compared with its champion anyway, must have enough evidence and must not look worse than the floor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from edgefleet.fleet.finding import MetricVerdict, Outcome, Verdict, reason_of, worst
from edgefleet.fleet.sheets import Sheet
from edgefleet.fleet.stats import (
    dispersion,
    log_bet_on_share_above,
    log_bet_on_share_below,
    share_variance,
    wilson,
    z_of,
)
from edgefleet.fleet.tally import Floats, Tally, log_quantiles, slower_than
from edgefleet.spec import Gates

_SLOW_SHARE: Final = 0.01
_Z: Final = z_of(0.95)


@dataclass(frozen=True, slots=True)
class Floor:
    """A share of something bad that must stay below a limit."""

    name: str
    sizes: Floats
    """Per node and window."""
    bad: Floats
    limit: float
    least: int
    said: str
    """The value and the floor in words, without the verdict on it."""
    bad_is: str


def floors_of(canary: Tally, gates: Gates) -> tuple[Floor, ...]:
    """Return the floors that the spec states and this plant can measure."""
    floors = [_error_floor(canary, gates)]
    if gates.floors.p99_ms is not None:
        floors.append(_latency_floor(canary, gates, gates.floors.p99_ms))
    if gates.floors.accuracy is not None and gates.accuracy.source == "labels":
        floors.append(_accuracy_floor(canary, gates, gates.floors.accuracy))
    return tuple(floors)


def judge_floor(floor: Floor, gates: Gates, *, ready: bool, first: bool) -> MetricVerdict:
    """Return the verdict on one floor; `ready`: the soak has lasted long enough for a PASS."""
    n, hits = float(floor.sizes.sum()), float(floor.bad.sum())
    nodes = int((floor.sizes.sum(1) > 0).sum())
    phi = dispersion(floor.sizes, floor.bad, share_variance(n, hits))
    worse = log_bet_on_share_above(n, hits, floor.limit, phi) / math.log(10)
    fine = log_bet_on_share_below(n, hits, floor.limit, phi) / math.log(10)
    enough = n >= floor.least and nodes >= gates.min_node_share * len(floor.sizes)
    # Several floors are several chances of a false alarm: half of the budget, split among three.
    boundary = -math.log10(gates.alpha_fail / 6)
    pass_boundary = -math.log10(gates.alpha_pass)
    shown = fine >= pass_boundary if first else n > 0 and hits / n <= floor.limit
    outcome = Outcome.INCONCLUSIVE
    if enough and worse >= boundary and hits / n > floor.limit:
        outcome = Outcome.FAIL
    elif enough and ready and shown:
        outcome = Outcome.PASS
    low, high = wilson(hits, n, _Z, phi)
    return MetricVerdict(
        name=f"{floor.name} floor",
        outcome=outcome,
        effect=100 * (floor.limit - hits / n) if n else None,
        low=100 * (floor.limit - high) if n else None,
        high=100 * (floor.limit - low) if n else None,
        unit="pt",
        n=int(n),
        nodes=nodes,
        margin=100 * floor.limit,
        canary=100 * hits / n if n else None,
        control=None,
        evidence=worse,
        boundary=boundary,
        pass_evidence=fine,
        pass_boundary=pass_boundary,
        text=_text(floor, outcome, n, hits, (low, high), enough=enough),
    )


def judge_first(gates: Gates, sheet: Sheet, window: int, look: int) -> Verdict:
    """Return the verdict on a first release's canary: it has no champion, so floors alone."""
    canary = sheet.after.of(sheet.canary)
    ready = look >= gates.min_windows
    metrics = tuple(
        judge_floor(floor, gates, ready=ready, first=True) for floor in floors_of(canary, gates)
    )
    outcome = worst(metric.outcome for metric in metrics)
    latest = "" if ready else f"; not before window {gates.min_windows}"
    text = "\n".join(metric.text for metric in metrics)
    if gates.floors.accuracy is None:
        text += "\naccuracy: the spec states no floor, so nothing judged it"
    reason = reason_of(metrics, outcome, look, latest)
    return Verdict(window, look, outcome, metrics, (), text, f"first release: {reason}")


def _text(
    floor: Floor,
    outcome: Outcome,
    n: float,
    hits: float,
    interval: tuple[float, float],
    *,
    enough: bool,
) -> str:
    if not n:
        return f"{floor.name} floor: no evidence, and that is not counted as good"
    low, high = interval
    seen = (
        f"{floor.said}: {100 * hits / n:.2f} % [{100 * low:.2f}, {100 * high:.2f}] {floor.bad_is}"
    )
    seen += f" (n={n:.0f}), at most {100 * floor.limit:g} % may be"
    if not enough:
        return f"{seen}; fewer than {floor.least} or on too few nodes to say"
    ends = {Outcome.FAIL: "missed", Outcome.PASS: "held", Outcome.INCONCLUSIVE: "not shown yet"}
    return f"{seen}: {ends[outcome]}"


def _error_floor(canary: Tally, gates: Gates) -> Floor:
    limit = gates.floors.error_rate
    return Floor(
        "errors",
        canary.requests,
        canary.errors,
        limit,
        gates.min_requests,
        "errors floor",
        "of the requests failed",
    )


def _accuracy_floor(canary: Tally, gates: Gates, floor: float) -> Floor:
    labels, right = canary.counts["labelled"], canary.counts["correct"]
    n = labels.sum()
    said = f"accuracy {100 * right.sum() / n:.1f} %" if n else "accuracy"
    said += f", floor {100 * floor:g} %"
    return Floor("accuracy", labels, labels - right, 1 - floor, gates.min_labels, said, "wrong")


def _latency_floor(canary: Tally, gates: Gates, limit_ms: float) -> Floor:
    """Return the share of requests slower than the limit, nodes over the whole time."""
    rows = canary.histograms
    total = rows.sum(0)
    said = f"p99, floor {limit_ms:g} ms"
    if total.sum():
        p99_ms = 1e3 * math.exp(log_quantiles(total.cumsum()[None], 0.99)[0])
        said = f"p99 {p99_ms:.1f} ms, floor {limit_ms:g} ms"
    sizes, bad = rows.sum(1)[:, None], slower_than(rows, limit_ms / 1e3)[:, None]
    return Floor("p99", sizes, bad, _SLOW_SHARE, gates.min_requests, said, "slower")
