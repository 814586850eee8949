"""How alike canary and controls were before anything changed: shown, and never a reason to re-draw.

A draw is as good as chance made it. Choosing among draws by how they look would void the guarantee,
so the difference is told and the test takes it into account: each node is compared with its past.
Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgefleet.edge.contract import Evidence
from edgefleet.fleet.contrast import contrasts_of
from edgefleet.fleet.design import Design
from edgefleet.fleet.gate import draws_for
from edgefleet.fleet.paths import share_as_extreme
from edgefleet.fleet.scores import Score, is_share, scores_of
from edgefleet.fleet.sheets import sheet_of
from edgefleet.spec import Gates


@dataclass(frozen=True, slots=True)
class Balance:
    """One metric before the change."""

    metric: str
    canary: float
    control: float
    unit: str
    """`ms` or `%`."""
    further: float
    """Share of the draws whose canary is as far from its controls, or further."""


def balance_of(
    design: Design, gates: Gates, evidence: Mapping[str, Sequence[Evidence]], last: int
) -> tuple[Balance, ...]:
    """Return how the design's canary differed in the `gates.pre_windows` windows up to `last`."""
    if design.was is None or not gates.pre_windows:
        return ()
    first = last - gates.pre_windows + 1
    before = replace(design, want=design.was, first_window=first, pre=None, since={})
    draws = draws_for(before)
    found = []
    scores = scores_of(sheet_of(before, evidence, last), gates)
    # Presence is counted of canary nodes from their first word on: before the change unlike others.
    alike = [score for score in scores if score.name != "presence"]
    for one in contrasts_of(alike, draws):
        score = one.score
        if score.canary is not None and score.control is not None and score.enough:
            off = np.abs(one.worse)
            further = share_as_extreme(off, float(off[0]))
            found.append(_shown(score, score.canary, score.control, further))
    return tuple(found)


def balance_text(found: Sequence[Balance]) -> str:
    """Return a table for people, in markdown; nothing where nothing was found."""
    if not found:
        return ""
    lines = [
        "The canary before the change; a draw is not repeated for looking uneven:",
        "",
        "| before | canary | others | draws as far apart |",
        "|---|---:|---:|---:|",
    ]
    lines += [
        f"| {one.metric} | {one.canary:.3g} {one.unit} | {one.control:.3g} {one.unit} | "
        f"{math.ceil(100 * one.further)} % |"
        for one in found
    ]
    return "\n".join(lines)


def _shown(score: Score, canary: float, control: float, further: float) -> Balance:
    if is_share(score.name):
        return Balance(score.name, 100 * canary, 100 * control, "%", further)
    return Balance(score.name, 1e3 * canary, 1e3 * control, "ms", further)
