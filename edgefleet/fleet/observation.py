"""Evidence as it is added up: records merge, histograms give quantiles, a board finds them.

Merging is commutative and associative, so it does not matter in which order or how late records
come. A quantile is taken from merged histograms; the mean of the nodes' own quantiles is wrong.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from edgefleet.edge.contract import BOUNDS_S, BUCKETS, Digest, Evidence

_FACTOR: Final = BOUNDS_S[1] / BOUNDS_S[0]
_NOT_ADDED: Final = frozenset({"window", "digest", "boot", "warm", "latency", "queue_peak"})
_COUNTS: Final = tuple(
    field.name for field in msgspec.structs.fields(Evidence) if field.name not in _NOT_ADDED
)


def merge(records: Iterable[Evidence]) -> Evidence | None:
    """Return the sum of records of one digest, None of none.

    Its window and boot are the greatest ones, its peak the highest, and it is warm if all were.

    Raises:
        ValueError: the records are of different digests: their sum would mean nothing.
    """
    parts = tuple(records)
    if not parts:
        return None
    digests = sorted({part.digest for part in parts})
    if len(digests) > 1:
        message = f"evidence of {', '.join(d[:19] for d in digests)} cannot be added up"
        raise ValueError(message)
    if len(parts) == 1:
        return parts[0]
    latency: Counter[int] = Counter()
    for part in parts:
        latency.update(dict(part.latency))
    counts = {name: sum(getattr(part, name) for part in parts) for name in _COUNTS}
    return Evidence(
        window=max(part.window for part in parts),
        digest=parts[0].digest,
        boot=max(part.boot for part in parts),
        warm=all(part.warm for part in parts),
        latency=tuple(sorted(latency.items())),
        queue_peak=max(part.queue_peak for part in parts),
        **counts,
    )


def quantile(latency: Sequence[tuple[int, float]], q: float) -> float | None:
    """Return the q-quantile in seconds of (bucket, count) pairs, None when nothing was counted.

    Inside a bucket it is interpolated geometrically, since the buckets are geometric. The bucket
    above the last bound is taken to be as wide as the others: a lower bound of the truth.
    """
    pairs = sorted(latency)
    total = sum(count for _, count in pairs)
    if total <= 0:
        return None
    rank, below = q * total, 0.0
    for bucket, count in pairs:
        if count > 0 and below + count >= rank:
            return float(lower_bound_s(bucket) * _FACTOR ** ((rank - below) / count))
        below += count
    return lower_bound_s(pairs[-1][0]) * _FACTOR


def lower_bound_s(bucket: int) -> float:
    """Return the lower edge of a bucket in seconds; the first one's is set by the factor."""
    return BOUNDS_S[min(bucket, BUCKETS) - 1] if bucket else BOUNDS_S[0] / _FACTOR


def share_above(latency: Sequence[tuple[int, float]], limit_s: float) -> float | None:
    """Return the share of answers slower than a limit, None when nothing was counted."""
    total = sum(count for _, count in latency)
    if total <= 0:
        return None
    slower = 0.0
    for bucket, count in latency:
        inside = math.log(limit_s / lower_bound_s(bucket)) / math.log(_FACTOR)
        slower += count * (1 - min(1.0, max(0.0, inside)))
    return slower / total


class Board:
    """Evidence by node and window; what no node reported is absent, never zero."""

    def __init__(self, evidence: Mapping[str, Iterable[Evidence]]) -> None:
        by_window: dict[str, dict[int, list[Evidence]]] = {}
        for node, records in evidence.items():
            cells: dict[int, list[Evidence]] = defaultdict(list)
            for record in records:
                cells[record.window].append(record)
            by_window[node] = dict(cells)
        self._cells = by_window

    @property
    def nodes(self) -> tuple[str, ...]:
        """All nodes with at least one record, sorted."""
        return tuple(sorted(node for node, cells in self._cells.items() if cells))

    def at(
        self, node: str, window: int, *, digest: Digest | None = None, warm: bool = True
    ) -> tuple[Evidence, ...]:
        """Return a node's records of one window, late labels among them.

        `digest` keeps those of one package; `warm` leaves out those of a server just started.
        """
        records = self._cells.get(node, {}).get(window, [])
        return tuple(
            record
            for record in records
            if (record.warm or not warm) and digest in {None, record.digest}
        )

    def total(
        self, node: str, first: int, last: int, *, digest: Digest, warm: bool = True
    ) -> Evidence | None:
        """Return a node's sum over the windows first..last, None when there is no record."""
        windows = sorted(window for window in self._cells.get(node, {}) if first <= window <= last)
        found = (self.at(node, window, digest=digest, warm=warm) for window in windows)
        return merge(record for records in found for record in records)

    def reported(self, window: int, nodes: Iterable[str]) -> frozenset[str]:
        """Return which of `nodes` have any record of a window, or of a later one."""
        latest = {node: max(cells) for node, cells in self._cells.items() if cells}
        return frozenset(node for node in nodes if latest.get(node, window - 1) >= window)

    def first_warm(self, node: str, digest: Digest, first: int) -> int | None:
        """Return the first window from `first` on that `node` served `digest` warm; None: none."""
        windows = (window for window in self._cells.get(node, {}) if window >= first)
        served = (window for window in windows if self.at(node, window, digest=digest))
        return min(served, default=None)
