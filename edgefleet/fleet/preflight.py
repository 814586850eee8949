"""What a canary will be able to show, by when: said before anybody approves. Pure.

Closed forms of shared figures: the expected growth of the paired e-process, q = 4 % discordance and
a dispersion of 1.2 (median windows; checked against simulations where power is above 90 %).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from edgefleet.fleet.stats import STAKES
from edgefleet.spec import Gates

_DISPERSION: Final = 1.2
_DISCORDANCE: Final = 0.04
_DROPS_PT: Final = (2.0, 5.0, 10.0)
_FEW_NODES: Final = 5


@dataclass(frozen=True, slots=True)
class Preflight:
    """Expected windows until a decision, and what to mind."""

    nodes: int
    labels_per_window: float
    """Of one node; 0: none, or not known yet."""
    to_pass: float
    """Windows until an equal model passes; infinite without labels."""
    to_fail: tuple[tuple[float, float], ...]
    """(drop in points, windows until it is found)."""
    warnings: tuple[str, ...]
    text: str


def preflight(gates: Gates, nodes: int, labels_per_window: float) -> Preflight:
    """Return what `nodes` canary nodes with so many paired labels each can show."""
    labels = nodes * labels_per_window
    margin = gates.accuracy.margin_pt / 100
    to_pass = max(_windows(_pass_growth(margin), gates.alpha_pass, labels), gates.min_windows)
    to_fail = tuple(
        (drop, _windows(_fail_growth(drop / 100), gates.alpha_fail / 2, labels))
        for drop in _DROPS_PT
    )
    warnings = []
    if nodes < _FEW_NODES:
        warnings.append(f"{_nodes(nodes)}: below {_FEW_NODES} latency and errors have little power")
    if gates.accuracy.source == "labels" and to_pass > gates.max_windows:
        need = "more labels" if not labels else f"about {to_pass / gates.max_windows:.1f}x as many"
        warnings.append(
            f"{_nodes(nodes)} with {labels_per_window:.1f} labels a window cannot show a "
            f"margin of {gates.accuracy.margin_pt:g} pt in {gates.max_windows} windows: it needs "
            f"{need}, a wider margin, or a longer soak"
        )
    finite = Preflight(nodes, labels_per_window, to_pass, to_fail, tuple(warnings), "")
    return Preflight(
        nodes, labels_per_window, to_pass, to_fail, tuple(warnings), _text(finite, gates)
    )


def first_preflight(gates: Gates, nodes: int) -> Preflight:
    """Return what judges a workload's first release: floors, as there is nothing to compare with.

    A floor of 60 % that a model of 95 % has to hold is shown within the first windows.
    """
    floors = gates.floors
    warnings = []
    if floors.accuracy is None:
        warnings.append("the spec states no floor for accuracy: nothing judges it")
    if nodes < _FEW_NODES:
        warnings.append(f"{_nodes(nodes)}: what one node shows is most of the verdict")
    stated = [
        "accuracy at least "
        + (f"{100 * floors.accuracy:g} %" if floors.accuracy else "not stated"),
        "p99 at most " + (f"{floors.p99_ms:g} ms" if floors.p99_ms else "not stated"),
        f"errors at most {100 * floors.error_rate:g} %",
    ]
    text = "\n".join(
        [
            f"### What {_nodes(nodes)} must show: the first release, by floors",
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


def _windows(growth: float, alpha: float, labels: float) -> float:
    if labels <= 0:
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


def _text(found: Preflight, gates: Gates) -> str:
    lines = [
        f"### What {_nodes(found.nodes)} can show",
        "",
        (
            f"Windows of {gates.window_s:g} s, at most {gates.max_windows}; "
            f"{found.labels_per_window:.1f} paired labels a node and window; accuracy by "
            f"{gates.accuracy.source}."
        ),
        "",
        "| if the new model is | windows until it is known (median) |",
        "|---|---:|",
        f"| as good, margin {gates.accuracy.margin_pt:g} pt | {_in_words(found.to_pass)} |",
        *(f"| worse by {drop:g} pt | {_in_words(windows)} |" for drop, windows in found.to_fail),
    ]
    return "\n".join([*lines, *(f"\n**{warning}.**" for warning in found.warnings)])


def _in_words(windows: float) -> str:
    return "never: no labels" if windows >= 1e9 else f"{math.ceil(windows)}"  # noqa: PLR2004 - as above


def _nodes(count: int) -> str:
    return f"{count} canary node{'' if count == 1 else 's'}"
