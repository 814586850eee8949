"""Evidence as arrays: every node's counts by window, of the digest that it ought to serve, warm.

A table holds what the gates read, shape (nodes, windows); records of the same node and window (late
labels among them) are added. Another digest than the expected one is no evidence.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgefleet.edge.contract import BOUNDS_S, BUCKETS

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

BURST_CAP: Final = 0.02
"""Errors of one window count up to this share of its requests: a burst is one event, not many."""
_LOWEST_LOG: Final = float(np.log(BOUNDS_S[0]))
_LOG_FACTOR: Final = float(np.log(BOUNDS_S[1] / BOUNDS_S[0]))


@dataclass(frozen=True)
class Tally:
    """Counts of nodes (rows) in windows (columns); sums are made once, when they are asked for."""

    tables: Mapping[str, NDArray[np.number]]
    """Of whatever numbers they are kept in; read as `counts`."""
    seen: Flags
    """There is a warm record, of whatever digest."""
    histograms: Floats
    """Latencies over all windows, shape (nodes, BUCKETS + 1)."""

    @property
    def counts(self) -> Mapping[str, Floats]:
        """The tables, each as floats when it is asked for: sums of small integers might not fit."""
        return _Counts(self.tables)

    @cached_property
    def requests(self) -> Floats:
        """Answers and failures of our own making; the senders' mistakes are not in it."""
        every: Floats = np.add(self.tables["ok"], self.errors)
        return every

    @cached_property
    def errors(self) -> Floats:
        """Server errors, and requests refused because the queue was full."""
        both: Floats = np.add(
            self.tables["server_errors"], self.tables["refused"], dtype=np.float64
        )
        return both

    @cached_property
    def capped_errors(self) -> Floats:
        """Errors over all windows, bursts capped, shape (nodes,)."""
        of_nodes: Floats = capped(self.errors, self.requests).sum(1)
        return of_nodes

    @cached_property
    def cumulated(self) -> Floats:
        """Latencies of this bucket or a quicker one, shape (nodes, BUCKETS + 1)."""
        return self.histograms.cumsum(1)

    def log_quantiles(self, q: float) -> Floats:
        """Return the log q-quantile of each node in seconds; 0 of nothing."""
        if q not in self._quantiles:
            self._quantiles[q] = log_quantiles(self.cumulated, q)
        return self._quantiles[q]

    @cached_property
    def _quantiles(self) -> dict[float, Floats]:
        return {}

    def of(self, rows: NDArray[np.intp]) -> Tally:
        """Return the same of some nodes."""
        tables = {name: table[rows] for name, table in self.tables.items()}
        return Tally(tables, self.seen[rows], self.histograms[rows])


class _Counts(Mapping[str, Floats]):
    def __init__(self, tables: Mapping[str, NDArray[np.number]]) -> None:
        self._tables = tables

    def __getitem__(self, name: str) -> Floats:
        return self._tables[name].astype(np.float64, order="C", copy=False)

    def __iter__(self) -> Iterator[str]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)


def capped(errors: Floats, requests: Floats) -> Floats:
    """Return how many errors of each node and window count, bursts capped."""
    most: Floats = BURST_CAP * requests
    np.ceil(most, out=most)  # in place: new arrays of this size cost more than the sums
    return np.minimum(errors, most, out=most)


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
