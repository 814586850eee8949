"""The evidence of one release, window by window: what was read again replaces what was read before.

A node's spool gives closed windows and, later, further records of them (late labels). So each
reading covers the last few windows again, and replaces them whole: nothing is counted twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from edgefleet.edge.contract import Evidence


@dataclass(frozen=True, slots=True)
class Reading:
    """What nodes said of the windows after `after`; nodes that did not answer are absent."""

    after: int
    records: Mapping[str, tuple[Evidence, ...]]


def entered(
    book: Mapping[str, tuple[Evidence, ...]], reading: Reading
) -> dict[str, tuple[Evidence, ...]]:
    """Return the book with a reading in it."""
    out = dict(book)
    for node, records in reading.records.items():
        kept = tuple(r for r in book.get(node, ()) if r.window <= reading.after)
        out[node] = kept + tuple(records)
    return out


def begun(
    records: Mapping[str, Sequence[Evidence]], newest: int
) -> dict[str, tuple[Evidence, ...]]:
    """Return the records without those of windows after `newest`, which no clock has begun.

    A node whose clock is far ahead, or which counts in shorter windows than the centre, says such
    numbers; a table of windows would be as wide as they are high. Its node stays: it answered.
    """
    return {
        node: tuple(record for record in told if record.window <= newest)
        for node, told in records.items()
    }


def reported(nodes: Sequence[str], reading: Reading, window: int) -> float:
    """Return the share of `nodes` that gave a record of `window` or a later one; of none: 1."""
    seen = sum(any(r.window >= window for r in reading.records.get(node, ())) for node in nodes)
    return seen / len(nodes) if nodes else 1.0


class Usual(NamedTuple):
    """What one node gives in one window, on average; 0: none, or not known."""

    labels: float
    requests: float
    wanted: float = 0.0
    """Requests whose label was asked for, come or not."""

    def pairs(self, shadow_rate: float) -> float:
        """Return the labels of requests that a champion would answer too, at that rate.

        One draw chooses for both, so the smaller sample is inside the larger (edge.sampling).
        """
        asked = max(self.wanted, self.labels)
        if not asked or not self.requests:
            return self.labels
        return self.labels * min(1.0, shadow_rate * self.requests / asked)


def usual_of(records: Mapping[str, Sequence[Evidence]], nodes: Sequence[str]) -> Usual:
    """Return what nodes gave, over the windows from the first to the last that any of them knows.

    Servers that have just come have few windows: those before are not windows without labels.
    """
    known = [record for node in nodes for record in records.get(node, ())]
    if not known:
        return Usual(0.0, 0.0)
    windows = [record.window for record in known]
    size = len(nodes) * (max(windows) - min(windows) + 1)
    counts = ((r.labelled, r.ok, r.wanted) for r in known)
    return Usual(*(sum(column) / size for column in zip(*counts, strict=True)))
