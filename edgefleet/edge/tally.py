"""Counts of one window, the book of the windows that are open, and the merging of records.

Counting is adding to plain integers: about a microsecond for a request. A record leaves the book
when its window is over; what comes later for that window (a label, a shadow answer) is one more
record of it, since records add up.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec

from edgefleet.edge.contract import BOUNDS_S, BUCKETS, Digest, Evidence

_KEYS: Final = frozenset({"window", "digest", "boot", "warm", "latency", "queue_peak"})
SUMS: Final = tuple(name for name in Evidence.__struct_fields__ if name not in _KEYS)
"""Fields of Evidence that merge by addition."""


class Key(NamedTuple):
    """Whose counts: records with the same key are one record."""

    window: int
    digest: Digest
    boot: str
    warm: bool


class Counts:
    """What one key's requests came to so far; mutable, owned by the event loop's thread."""

    __slots__ = ("latency", "queue_peak", "sums")

    def __init__(self) -> None:
        self.sums: defaultdict[str, int] = defaultdict(int)
        self.latency = [0] * (BUCKETS + 1)
        self.queue_peak = 0

    def record(self, key: Key) -> Evidence:
        """Return the counts as a frozen record."""
        return Evidence(
            window=key.window,
            digest=key.digest,
            boot=key.boot,
            warm=key.warm,
            latency=tuple((i, n) for i, n in enumerate(self.latency) if n),
            queue_peak=self.queue_peak,
            **self.sums,
        )

    def add(self, record: Evidence) -> None:
        """Add a record's counts."""
        for name in SUMS:
            count = getattr(record, name)
            if count:
                self.sums[name] += count
        for bucket, count in record.latency:
            self.latency[min(bucket, BUCKETS)] += count
        self.queue_peak = max(self.queue_peak, record.queue_peak)


def merge(records: Iterable[Evidence]) -> tuple[Evidence, ...]:
    """Return one record for each key, ordered by window."""
    merged: dict[Key, Counts] = {}
    for record in records:
        key = Key(record.window, record.digest, record.boot, record.warm)
        merged.setdefault(key, Counts()).add(record)
    return tuple(merged[key].record(key) for key in sorted(merged))


@dataclass(slots=True)
class Book:
    """The open windows of one server process."""

    digest: Digest
    boot: str
    window_s: float
    warmup_windows: int
    _open: dict[Key, Counts]
    _life: Counts
    _first: int | None = None
    """The window in which serving began; None: it has not."""

    @classmethod
    def empty(cls, digest: Digest, boot: str, window_s: float, warmup_windows: int) -> Book:
        """Return a book without any count."""
        return cls(digest, boot, window_s, warmup_windows, {}, Counts())

    def window(self, now: float) -> int:
        """Return the number of the window that a time (unix seconds) is in."""
        return math.floor(now / self.window_s)

    def begin(self, now: float) -> None:
        """Mark that serving begins: this window is partial, the warm-up windows follow."""
        self._first = self.window(now)

    def warm(self, window: int) -> bool:
        """Say whether a window is past the warm-up of this process."""
        return self._first is not None and window > self._first + self.warmup_windows

    def at(self, window: int) -> Counts:
        """Return this process's counts of a window, to add to."""
        return self.of(Key(window, self.digest, self.boot, self.warm(window)))

    def of(self, key: Key) -> Counts:
        """Return the counts of any key, also of an earlier process, to add to."""
        counts = self._open.get(key)
        if counts is None:
            counts = self._open[key] = Counts()
        return counts

    def close(self, before: int) -> tuple[Evidence, ...]:
        """Take out the records of all windows below `before`, ordered by window.

        A window without any request gives a record of zeros: the node was there, nobody asked.
        """
        if self._first is not None and before > self._first:
            self.at(before - 1)
        keys = sorted(key for key in self._open if key.window < before)
        records = tuple(self._open.pop(key).record(key) for key in keys)
        for record in records:
            if record.boot == self.boot:
                self._life.add(record)
        return records

    def total(self, now: float) -> Evidence:
        """Return everything that this process counted of its own answers."""
        total = Counts()
        key = Key(self.window(now), self.digest, self.boot, self.warm(self.window(now)))
        total.add(self._life.record(key))
        for other, counts in self._open.items():
            if other.boot == self.boot:
                total.add(counts.record(other))
        return total.record(key)


def quantile(latency: Sequence[tuple[int, int]], share: float) -> float | None:
    """Return a quantile in seconds, geometric within its bucket; None: nothing was counted."""
    total = sum(count for _, count in latency)
    if not total:
        return None
    rank = share * total
    below = 0
    for bucket, count in latency:
        if below + count >= rank:
            if bucket >= BUCKETS:
                return BOUNDS_S[-1]
            upper = BOUNDS_S[bucket]
            lower = BOUNDS_S[bucket - 1] if bucket else upper / (BOUNDS_S[1] / BOUNDS_S[0])
            return lower * math.pow(upper / lower, (rank - below) / count)
        below += count
    return BOUNDS_S[-1]


def encode(records: Iterable[Evidence]) -> bytes:
    """Return records as JSON lines."""
    encoder = msgspec.json.Encoder()
    return b"".join(encoder.encode(record) + b"\n" for record in records)
