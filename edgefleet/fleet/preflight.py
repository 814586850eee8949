"""What a canary will be able to show, by when: said before anybody approves. Pure.

What nodes are compared on comes from a replay of the fleet's own history. Accuracy by pairs has no
history, as nothing is answered by both models before a release; for it the expected growth of the
bets, at 4 % discordant pairs and a dispersion of 1.2 (median windows, checked against simulations
where power is above 90 %); where answers have to agree, that of the bets on their share.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from edgefleet.fleet.balance import Balance, balance_text
from edgefleet.fleet.impossible import by_pairs, nodes_in_words
from edgefleet.fleet.replay import Detectable, replay_text
from edgefleet.fleet.stats import STAKES
from edgefleet.spec import Gates

_DISPERSION: Final = 1.2
_DISCORDANCE: Final = 0.04
_DROPS_PT: Final = (2.0, 5.0, 10.0)
_FEW_NODES: Final = 5
_TOLD: Final = {
    "pairs": "labels of shadowed requests",
    "labels": "labels",
    "agreement": "shadowed answers",
    "none": "labels",
}


@dataclass(frozen=True, slots=True)
class Preflight:
    """Expected windows until a decision, and what to mind."""

    nodes: int
    labels_per_window: float
    """Of one node, those that accuracy is judged by (shadowed answers, where they have to agree);
    0: none, or not known yet."""
    to_pass: float
    """Windows until accuracy by pairs passes an equal model, or until agreement passes one that
    disagrees half as often as it may; 1e9 without labels."""
    to_fail: tuple[tuple[float, float], ...]
    """(drop in points, windows until it is found)."""
    warnings: tuple[str, ...]
    text: str
    between: tuple[Detectable, ...] = ()
    """What the comparison of nodes can detect; empty: there is no history to say it."""
    balance: tuple[Balance, ...] = ()
    """How alike canary and controls were lately."""


def preflight(
    gates: Gates,
    nodes: int,
    labels_per_window: float,
    between: tuple[Detectable, ...] = (),
    balance: tuple[Balance, ...] = (),
) -> Preflight:
    """Return what `nodes` canary nodes can show; of each, `labels_per_window` tell of accuracy."""
    labels = nodes * labels_per_window
    to_pass, to_fail = _expected(gates, labels)
    warnings = []
    if nodes < _FEW_NODES:
        warnings.append(
            f"{nodes_in_words(nodes)}: below {_FEW_NODES} latency and errors have little power"
        )
    if gates.accuracy.source == "agreement" and to_pass > gates.max_windows:
        warnings.append(
            f"{nodes_in_words(nodes)} with {labels_per_window:.1f} shadowed answers a window may "
            f"not show {100 * gates.accuracy.min_agreement:g} % agreement in {gates.max_windows} "
            "windows: shadow more, take more canary nodes, or a longer soak"
        )
    if by_pairs(gates) and to_pass > gates.max_windows:
        need = "more labels" if not labels else f"about {to_pass / gates.max_windows:.1f}x as many"
        warnings.append(
            f"{nodes_in_words(nodes)} with {labels_per_window:.1f} labels a window cannot show a "
            f"margin of {gates.accuracy.margin_pt:g} pt in {gates.max_windows} windows: it needs "
            f"{need}, disagreements labelled first, a wider margin, or a longer soak"
        )
    late = [one.metric for one in between if one.to_pass is None]
    if late:
        warnings.append(
            f"{nodes_in_words(nodes)}: for {', '.join(late)} chance alone spreads too far for the "
            "margin within the windows that were replayed: it takes longer, more nodes, or a wider "
            "margin"
        )
    told = tuple(warnings)
    found = Preflight(nodes, labels_per_window, to_pass, to_fail, told, "", between, balance)
    return replace(found, text=_text(found, gates))


def first_preflight(gates: Gates, nodes: int) -> Preflight:
    """Return what judges a workload's first release: floors, as there is nothing to compare with.

    A floor of 60 % that a model of 95 % has to hold is shown within the first windows.
    """
    floors = gates.floors
    warnings = []
    if floors.accuracy is None:
        warnings.append("the spec states no floor for accuracy: nothing judges it")
    if nodes < _FEW_NODES:
        warnings.append(f"{nodes_in_words(nodes)}: what one node shows is most of the verdict")
    stated = [
        "accuracy at least "
        + (f"{100 * floors.accuracy:g} %" if floors.accuracy else "not stated"),
        "p99 at most " + (f"{floors.p99_ms:g} ms" if floors.p99_ms else "not stated"),
        f"errors at most {100 * floors.error_rate:g} %",
    ]
    text = "\n".join(
        [
            f"### What {nodes_in_words(nodes)} must show: the first release, by floors",
            "",
            *(f"- {floor}" for floor in stated),
            "",
            (
                f"Looked at after every window of {gates.window_s:g} s, from window "
                f"{gates.min_windows} on, at most {gates.max_windows}."
            ),
            *(f"\n**{warning}.**" for warning in warnings),
        ]
    )
    return Preflight(nodes, 0.0, gates.min_windows, (), tuple(warnings), text)


def _expected(gates: Gates, told: float) -> tuple[float, tuple[tuple[float, float], ...]]:
    """Return the windows until a PASS, and (drop in points, windows) until a FAIL."""
    if gates.accuracy.source == "agreement":
        limit = 1 - gates.accuracy.min_agreement
        fine, worse = _agreeing_growth(limit, limit / 2), _differing_growth(limit)
        drops: tuple[tuple[float, float], ...] = (
            (100 * limit, _windows(worse, gates.alpha_fail / 2, told)),
        )
    else:
        fine = _pass_growth(gates.accuracy.margin_pt / 100)
        drops = tuple(
            (drop, _windows(_fail_growth(drop / 100), gates.alpha_fail / 2, told))
            for drop in _DROPS_PT
        )
    return max(_windows(fine, gates.alpha_pass, told), gates.min_windows), drops


def _windows(growth: float, alpha: float, labels: float) -> float:
    if labels <= 0 or growth <= 0:
        return 1e9
    return _DISPERSION * (math.log(1 / alpha) + math.log(len(STAKES)) / 2) / growth / labels


def _fail_growth(drop: float) -> float:
    gains, losses = _DISCORDANCE / 2, _DISCORDANCE / 2 + drop
    return float((losses * np.log1p(STAKES) + gains * np.log1p(-STAKES)).max())


def _pass_growth(margin: float) -> float:
    half = _DISCORDANCE / 2
    return float(
        (
            half * np.log1p(STAKES * (1 + margin))
            + half * np.log1p(-STAKES * (1 - margin))
            + (1 - _DISCORDANCE) * np.log1p(STAKES * margin)
        ).max()
    )


def _agreeing_growth(limit: float, share: float) -> float:
    """Return what an answer adds to a bet on "fewer than `limit` disagree" if `share` do."""
    lost, won = np.log1p(-STAKES * (1 - limit)), np.log1p(STAKES * limit)
    return float((share * lost + (1 - share) * won).max())


def _differing_growth(limit: float) -> float:
    """Return what an answer adds to a bet on "more than `limit` disagree" if twice as many do."""
    share, stakes = min(1.0, 2 * limit), STAKES / limit
    won, lost = np.log1p(stakes * (1 - limit)), np.log1p(-STAKES)
    return float((share * won + (1 - share) * lost).max())


def _text(found: Preflight, gates: Gates) -> str:
    told = _TOLD["pairs" if by_pairs(gates) else gates.accuracy.source]
    lines = [
        f"### What {nodes_in_words(found.nodes)} can show",
        "",
        (
            f"Windows of {gates.window_s:g} s, at most {gates.max_windows}; "
            f"{found.labels_per_window:.1f} {told} a node and window; accuracy by "
            f"{gates.accuracy.source}."
        ),
    ]
    rows = _rows(found, gates)
    if rows:
        head = ["| if the new model is | windows until it is known (median) |", "|---|---:|"]
        lines += [
            "",
            *head,
            *(f"| {what} | {_in_words(windows, told)} |" for what, windows in rows),
        ]
    for table in (replay_text(found.between, gates), balance_text(found.balance)):
        lines += ["", table] if table else []
    return "\n".join([*lines, *(f"\n**{warning}.**" for warning in found.warnings)])


def _rows(found: Preflight, gates: Gates) -> list[tuple[str, float]]:
    """Return (what the new model may be, windows until it is known)."""
    if gates.accuracy.source == "agreement":
        least, ((limit, to_fail),) = 100 * gates.accuracy.min_agreement, found.to_fail
        return [
            (f"in agreement on {least + limit / 2:g} %, at least {least:g} % asked", found.to_pass),
            (f"in agreement on {max(least - limit, 0):g} %", to_fail),
        ]
    if not by_pairs(gates):
        return []
    drops = [(f"worse by {drop:g} pt", windows) for drop, windows in found.to_fail]
    return [(f"as good, margin {gates.accuracy.margin_pt:g} pt", found.to_pass), *drops]


def _in_words(windows: float, told: str) -> str:
    return f"never: no {told}" if windows >= 1e9 else f"{math.ceil(windows)}"  # noqa: PLR2004 - as above
