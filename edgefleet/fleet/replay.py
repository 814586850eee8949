"""What a canary can detect, from the fleet's own history: an A/A test through the gate's own code.

The newer half of the history is taken for a soak in which nothing was changed, the older half for
its past. How far the draws of the canary spread there is how far chance will spread this one: what
stands out from it with a probability of 80 % can be found, and a margin that is as wide can be
shown to be kept. A closed form knows nothing of this fleet's drifts; this does, as far as the last
hours were like the next ones. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Final

from edgefleet.edge.contract import Evidence
from edgefleet.fleet.budget import share_of_budget
from edgefleet.fleet.contrast import Contrast, contrasts_of
from edgefleet.fleet.design import Design
from edgefleet.fleet.gate import draws_for
from edgefleet.fleet.scores import is_share, scores_of
from edgefleet.fleet.sheets import Sheets
from edgefleet.fleet.stats import z_of
from edgefleet.spec import Gates

LEAST_HISTORY: Final = 10
"""Windows; with fewer there is nothing to replay."""
_POWER: Final = NormalDist().inv_cdf(0.8)
_Z: Final = z_of(0.95)


@dataclass(frozen=True, slots=True)
class Detectable:
    """One metric that is compared between nodes."""

    metric: str
    unit: str
    """`%` of latency, or `pt`."""
    margin: float
    """In `unit`."""
    drops: tuple[tuple[int, float], ...]
    """(windows, smallest worsening that is found by then with 80 %, in `unit`)."""
    to_pass: int | None
    """Windows until an equal model has shown its margin with 80 %; None: not in what was seen."""


def replayed(
    design: Design, gates: Gates, evidence: Mapping[str, Sequence[Evidence]], last: int
) -> tuple[Detectable, ...]:
    """Return what the design's canary could have detected in the windows up to `last`.

    `design.was` is the champion, which all nodes served; its windows and its past are not read, but
    taken from the history: `gates.pre_windows` windows, halved.
    """
    half = gates.pre_windows // 2
    if design.was is None or half < LEAST_HISTORY // 2:
        return ()
    first = last - half + 1
    same = replace(
        design, want=design.was, first_window=first, pre=(first - half, first - 1), since={}
    )
    draws = draws_for(same)
    found: dict[str, list[tuple[int, Contrast]]] = {}
    sheets = Sheets(same)
    sheets.enter(evidence)
    for windows in _looks(half):
        scores = scores_of(sheets.until(first + windows - 1), gates)
        for one in contrasts_of([score for score in scores if score.enough], draws):
            found.setdefault(one.score.name, []).append((windows, one))
    told = len(found)
    return tuple(_detectable(name, seen, gates, told) for name, seen in found.items())


def replay_text(found: Sequence[Detectable], gates: Gates) -> str:
    """Return a table for people, in markdown; nothing where nothing was found."""
    if not found:
        return ""
    looks = sorted({windows for one in found for windows, _ in one.drops})
    chosen = sorted({looks[0], looks[len(looks) // 2], looks[-1]})
    head = " | ".join(f"in {windows}" for windows in chosen)
    lines = [
        "Between nodes, by the fleet's own last hours (an A/A replay):",
        "",
        f"| found at 80 % | {head} | margin | shown in |",
        f"|---|{'---:|' * len(chosen)}---:|---:|",
    ]
    for one in found:
        drops = dict(one.drops)
        cells = [f"{drops[k]:.2g} {one.unit}" if k in drops else "-" for k in chosen]
        shown = f"{max(one.to_pass, gates.min_windows)}" if one.to_pass else f"> {looks[-1]}"
        lines.append(
            f"| {one.metric} | {' | '.join(cells)} | {one.margin:.2g} {one.unit} | {shown} |"
        )
    return "\n".join(lines)


def _looks(half: int) -> tuple[int, ...]:
    """Return the windows after which is looked: every fifth, and the last."""
    return tuple(sorted({*range(5, half + 1, 5), half}))


def _detectable(
    name: str, seen: Sequence[tuple[int, Contrast]], gates: Gates, told: int
) -> Detectable:
    drops, to_pass = [], None
    for windows, contrast in seen:
        spread = contrast.half / _Z
        fail, fine = share_of_budget(gates, name, windows)
        found = (_beyond(fail / told) + _POWER) * spread
        drops.append((windows, _in_unit(name, max(found, contrast.score.alarm))))
        shown = contrast.score.shrink * contrast.score.margin - _POWER * spread
        if to_pass is None and shown >= _beyond(fine) * spread:
            to_pass = windows
    last = seen[-1][1].score
    unit = "pt" if is_share(name) else "%"
    return Detectable(name, unit, _in_unit(name, last.margin), tuple(drops), to_pass)


def _beyond(share: float) -> float:
    return NormalDist().inv_cdf(1 - max(share, 1e-6))


def _in_unit(name: str, size: float) -> float:
    if is_share(name):
        return 100 * size
    return 100 * math.expm1(size)
