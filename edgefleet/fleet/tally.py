"""Evidence as arrays: every node's counts by window, of the digest that it ought to serve, warm.

A table holds what the gates read, shape (nodes, windows); records of the same node and window (late
labels among them) are added. Another digest than the expected one is no evidence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from operator import attrgetter
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgefleet.edge.contract import BOUNDS_S, BUCKETS, Digest, Evidence

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_FIELDS: Final = (
    "ok",
    "server_errors",
    "refused",
    "labelled",
    "correct",
    "shadowed",
    "disagreed",
    "disagreed_labelled",
    "shadow_gains",
    "shadow_losses",
    "paired",
    "gains",
    "losses",
)
_LOWEST_LOG: Final = float(np.log(BOUNDS_S[0]))
_LOG_FACTOR: Final = float(np.log(BOUNDS_S[1] / BOUNDS_S[0]))


@dataclass(frozen=True, slots=True)
class Span:
    """Which records of one node count."""

    node: str
    digest: Digest | None
    """What it ought to serve; None: none count."""
    first: int
    last: int


@dataclass(frozen=True)
class Tally:
    """Counts of nodes (rows) in windows (columns); sums are made once, when they are asked for."""

    counts: Mapping[str, Floats]
    seen: Flags
    """There is a warm record, of whatever digest."""
    histograms: Floats
    """Latencies over all windows, shape (nodes, BUCKETS + 1)."""

    @cached_property
    def requests(self) -> Floats:
        """Answers and failures of our own making; the senders' mistakes are not in it."""
        return self.counts["ok"] + self.errors

    @cached_property
    def errors(self) -> Floats:
        """Server errors, and requests refused because the queue was full."""
        return self.counts["server_errors"] + self.counts["refused"]

    @cached_property
    def cumulated(self) -> Floats:
        """Latencies of this bucket or a quicker one, shape (nodes, BUCKETS + 1)."""
        return self.histograms.cumsum(1)

    def of(self, rows: NDArray[np.intp]) -> Tally:
        """Return the same of some nodes."""
        counts = {name: table[rows] for name, table in self.counts.items()}
        return Tally(counts, self.seen[rows], self.histograms[rows])


def log_quantiles(cumulated: Floats, q: float) -> Floats:
    """Return the log q-quantile in seconds of each row, geometric within a bucket; 0 of nothing.

    `cumulated`: histograms summed from the quickest bucket on, shape (rows, BUCKETS + 1).
    """
    total = cumulated[:, -1]
    rank = q * total
    bucket = (cumulated < rank[:, np.newaxis]).sum(1).clip(0, BUCKETS)
    rows = np.arange(len(cumulated))
    before = np.where(bucket > 0, cumulated[rows, bucket - 1], 0.0)
    inside = cumulated[rows, bucket] - before
    part = (rank - before) / np.maximum(inside, 1)
    return np.where(total > 0, _LOWEST_LOG + _LOG_FACTOR * (bucket - 1 + part), 0.0)


def slower_than(histograms: Floats, limit_s: float) -> Floats:
    """Return how many answers of each row took longer than a limit, geometric within a bucket."""
    lower_log = _LOWEST_LOG + _LOG_FACTOR * (np.arange(histograms.shape[1]) - 1)
    below = ((math.log(limit_s) - lower_log) / _LOG_FACTOR).clip(0, 1)
    slower: Floats = (histograms * (1 - below)).sum(1)
    return slower


def tally(
    evidence: Mapping[str, Sequence[Evidence]],
    spans: Sequence[Span],
    fields: Sequence[str] = _FIELDS,
) -> Tally:
    """Return the counts of each span's node; the columns run from the earliest to the latest.

    `fields`: at least two, by their names in a record.
    """
    first = min((span.first for span in spans), default=0)
    width = max(0, max((span.last for span in spans), default=-1) - first + 1)
    cells: list[int] = []
    rows: list[int] = []
    counted: list[Evidence] = []
    seen = np.zeros((len(spans), width), dtype=np.bool_)
    for row, span in enumerate(spans):
        for record in evidence.get(span.node, ()):
            window = record.window
            if span.first <= window <= span.last and record.warm:
                seen[row, window - first] = True
                if record.digest == span.digest:
                    cells.append(row * width + window - first)
                    rows.append(row)
                    counted.append(record)
    shape = (len(spans), width)
    flat = np.fromiter(chain.from_iterable(map(attrgetter(*fields), counted)), np.int64)
    columns = flat.reshape(-1, len(fields)).T
    where = np.array(cells, dtype=np.int64)
    counts = {
        name: np.bincount(where, column, width * len(spans)).reshape(shape).astype(np.float64)
        for name, column in zip(fields, columns, strict=True)
    }
    return Tally(counts, seen, _histograms(counted, rows, len(spans)))


def _histograms(records: Sequence[Evidence], rows: Sequence[int], nodes: int) -> Floats:
    pairs = chain.from_iterable(chain.from_iterable(record.latency for record in records))
    flat = np.fromiter(pairs, np.int64).reshape(-1, 2)
    of_record = np.fromiter((len(record.latency) for record in records), np.int64)
    row = np.repeat(np.array(rows, dtype=np.int64), of_record)
    width = BUCKETS + 1
    table = np.bincount(row * width + flat[:, 0], flat[:, 1], nodes * width)
    return table.reshape(nodes, width).astype(np.float64)
