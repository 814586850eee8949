"""What the gates look at: the evidence of a design, before the change and since, as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgefleet.edge.contract import Evidence
from edgefleet.fleet.cells import Cells, Span, columns_of
from edgefleet.fleet.design import Design
from edgefleet.fleet.tally import Tally


@dataclass(frozen=True, slots=True)
class Sheet:
    """All evidence of one look as arrays; rows are the design's nodes."""

    before: Tally
    after: Tally
    canary: NDArray[np.intp]
    """Rows of the canary."""
    control: NDArray[np.intp]


class Sheets:
    """All evidence of a design: each reading is entered once and need not be kept."""

    def __init__(self, design: Design) -> None:
        """Know of nothing yet."""
        chosen = frozenset(design.canary)
        isin = np.array([member.node in chosen for member in design.nodes], dtype=np.bool_)
        self._canary, self._control = np.flatnonzero(isin), np.flatnonzero(~isin)
        first, self._last_before = design.pre or (0, -1)
        self._before = Cells(
            [Span(member.node, design.was, first) for member in design.nodes], self._last_before
        )
        self._after = Cells(
            [
                Span(
                    member.node,
                    design.want if member.node in chosen else design.was,
                    max(design.first_window, design.since.get(member.node, design.first_window)),
                )
                for member in design.nodes
            ]
        )
        self._past: Tally | None = None
        """What is made of the past, until something of it is entered anew."""

    def enter(self, records: Mapping[str, Sequence[Evidence]], after: int = -1) -> None:
        """Take in what nodes said of all their windows after `after`: it replaces what is known."""
        if after < self._last_before:
            self._past = None
        for told in columns_of(records, after):
            self._before.enter(told)
            self._after.enter(told)

    def until(self, window: int) -> Sheet:
        """Return the evidence up to a window; good until the next entry."""
        if self._past is None:
            self._past = self._before.tally(self._last_before)
        return Sheet(
            self._past,
            self._after.tally(window),
            self._canary,
            self._control,
        )


def sheet_of(design: Design, evidence: Mapping[str, Sequence[Evidence]], window: int) -> Sheet:
    """Return the evidence up to `window` that belongs to a design."""
    sheets = Sheets(design)
    sheets.enter(evidence)
    return sheets.until(window)
