"""The evidence of one release, window by window: what was read again replaces what was read before.

A node's spool gives closed windows and, later, further records of them (late labels). So each
reading covers the last few windows again, and replaces them whole: nothing is counted twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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


def reported(nodes: Sequence[str], reading: Reading, window: int) -> float:
    """Return the share of `nodes` that gave a record of `window` or a later one; of none: 1."""
    seen = sum(any(r.window >= window for r in reading.records.get(node, ())) for node in nodes)
    return seen / len(nodes) if nodes else 1.0


def labels_per_window(
    records: Mapping[str, Sequence[Evidence]], nodes: Sequence[str], windows: int
) -> float:
    """Return how many wanted labels a node gave in a window on average; 0: none or not known."""
    labels = sum(r.labelled for node in nodes for r in records.get(node, ()))
    return labels / (len(nodes) * windows) if nodes and windows else 0.0
