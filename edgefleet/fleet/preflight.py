"""What a canary will be able to show, by when: said before anybody approves. Pure.

What nodes are compared on comes from a replay of the fleet's own history. Accuracy by pairs has no
history, as nothing is answered by both models before a release; for it the expected growth of the
bets, at 4 % discordant pairs and a dispersion of 1.2 (median windows, checked against simulations
where power is above 90 %). What no luck could show is refused here, and not held at the end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from edgefleet.errors import Refused
from edgefleet.fleet.balance import Balance, balance_text
from edgefleet.fleet.book import Usual
from edgefleet.fleet.budget import has_bets, share_of_budget
from edgefleet.fleet.design import Design
from edgefleet.fleet.gate import draws_for
from edgefleet.fleet.replay import Detectable, replay_text
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
    """Windows until accuracy by pairs passes an equal model; 1e9 without labels."""
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
    if _by_pairs(gates) and to_pass > gates.max_windows:
        need = "more labels" if not labels else f"about {to_pass / gates.max_windows:.1f}x as many"
        warnings.append(
            f"{_nodes(nodes)} with {labels_per_window:.1f} labels a window cannot show a "
            f"margin of {gates.accuracy.margin_pt:g} pt in {gates.max_windows} windows: it needs "
            f"{need}, disagreements labelled first, a wider margin, or a longer soak"
        )
    late = [one.metric for one in between if one.to_pass is None]
    if late:
        warnings.append(
            f"{_nodes(nodes)}: for {', '.join(late)} chance alone spreads too far for the margin "
            "within the windows that were replayed: it takes longer, more nodes, or a wider margin"
        )
    told = tuple(warnings)
    found = Preflight(nodes, labels_per_window, to_pass, to_fail, told, "", between, balance)
    return replace(found, text=_text(found, gates))


def refuse_impossible(gates: Gates, design: Design, usual: Usual, subject: str) -> None:
    """Refuse what could not pass with all the luck there is.

    `usual` is what a node gives in a window; what is 0 there is not known, and refuses nothing.

    Raises:
        Refused: too few labels for any verdict, too few answers for the margin even if both models
            agreed on all of them, or so few nodes that most draws of the canary are this one.
    """
    canary = _nodes(len(design.canary))
    windows, margin_pt = gates.max_windows, gates.accuracy.margin_pt
    labels = usual.labels * len(design.canary) * windows
    if gates.accuracy.source == "labels" and 0 < labels < gates.min_labels:
        raise Refused(
            subject,
            f"{canary} with {usual.labels:.2g} labels a window give {labels:.0f} in {windows} "
            f"windows, below min_labels {gates.min_labels}: accuracy could have no verdict",
            "Label more, take more canary nodes or windows, or judge by agreement",
        )
    shadowed = usual.requests * gates.shadow_rate * len(design.canary) * windows
    needed = math.log(2 / gates.alpha_pass) / math.log1p(STAKES[-1] * margin_pt / 100)
    answers = max(labels, shadowed)
    if _by_pairs(gates) and 0 < answers < needed:
        raise Refused(
            subject,
            f"{canary} with {usual.labels:.2g} labels and {usual.requests:.3g} requests a window "
            f"cannot show a margin of {margin_pt:g} pt in {windows} windows: even without any "
            f"disagreement it needs about {needed:.0f} answers, and gets {answers:.0f}",
            "Widen the margin, label or shadow more, or take more canary nodes or windows",
        )
    same = draws_for(design).same
    _, fine = share_of_budget(gates, "", windows)
    compared = [f"p{q * 100:g}" for q in gates.latency.quantiles]
    if gates.accuracy.source == "labels" and not has_bets(gates):
        compared.append("accuracy")
    if compared and same > fine:
        raise Refused(
            subject,
            f"of all draws of {canary} from {len(design.nodes)} nodes {100 * same:.0f} % are the "
            f"same nodes: no comparison of {', '.join(compared)} can reach {100 * fine:.1f} %",
            "Take more canary nodes from more nodes, or judge those by floors alone: "
            "`latency: {quantiles: []}`, a shadow_rate above 0 for accuracy",
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
            f"{found.labels_per_window:.1f} labels a node and window; accuracy by "
            f"{gates.accuracy.source}."
        ),
    ]
    if _by_pairs(gates):
        lines += [
            "",
            "| if the new model is | windows until it is known (median) |",
            "|---|---:|",
            f"| as good, margin {gates.accuracy.margin_pt:g} pt | {_in_words(found.to_pass)} |",
            *(
                f"| worse by {drop:g} pt | {_in_words(windows)} |"
                for drop, windows in found.to_fail
            ),
        ]
    for table in (replay_text(found.between, gates), balance_text(found.balance)):
        lines += ["", table] if table else []
    return "\n".join([*lines, *(f"\n**{warning}.**" for warning in found.warnings)])


def _by_pairs(gates: Gates) -> bool:
    return gates.accuracy.source == "labels" and has_bets(gates)


def _in_words(windows: float) -> str:
    return "never: no labels" if windows >= 1e9 else f"{math.ceil(windows)}"  # noqa: PLR2004 - as above


def _nodes(count: int) -> str:
    return f"{count} canary node{'' if count == 1 else 's'}"
