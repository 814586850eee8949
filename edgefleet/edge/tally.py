"""Counts of one window, the book of the windows that are open, and the merging of records.

Every count belongs to the digest that answered: a term is the time for which one digest serves in
one process, and at a swap a new one begins, warm-up windows and all.

Counting is adding to plain integers: about a microsecond for a request. A record leaves the book
when its window is over; what comes later for that window (a label, a shadow answer) is one more
record of it, since records add up.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
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


def key_of(record: Evidence) -> Key:
    """Return whose counts a record has."""
    return Key(record.window, record.digest, record.boot, record.warm)


def gather(merged: dict[Key, Counts], records: Iterable[Evidence]) -> None:
    """Add records to the counts of their keys."""
    for record in records:
        merged.setdefault(key_of(record), Counts()).add(record)


def in_order(merged: Mapping[Key, Counts]) -> tuple[Evidence, ...]:
    """Return one record for each key, ordered by window."""
    return tuple(merged[key].record(key) for key in sorted(merged))


def merge(records: Iterable[Evidence]) -> tuple[Evidence, ...]:
    """Return one record for each key, ordered by window."""
    merged: dict[Key, Counts] = {}
    gather(merged, records)
    return in_order(merged)


@dataclass(frozen=True, slots=True)
class Term:
    """The time for which one digest serves in one process: whose its counts are, and how warm."""

    digest: Digest
    boot: str
    warmup_windows: int
    first: int | None = None
    """The window in which serving began; None: it has not."""

    def warm(self, window: int) -> bool:
        """Say whether a window is past the warm-up of this term."""
        return self.first is not None and window > self.first + self.warmup_windows

    def key(self, window: int) -> Key:
        """Return what this term's counts of a window are kept under."""
        return Key(window, self.digest, self.boot, self.warm(window))

    def owns(self, key: Key) -> bool:
        """Say whether counts are this term's, and not of another process, digest or time."""
        began = self.first is None or key.window >= self.first
        return began and (key.digest, key.boot) == (self.digest, self.boot)


@dataclass(slots=True)
class Book:
    """The open windows of one server process."""

    term: Term
    window_s: float
    _open: dict[Key, Counts]
    _closed: Counts
    """What the records of this term that have left the book came to."""

    @classmethod
    def empty(cls, digest: Digest, boot: str, window_s: float, warmup_windows: int) -> Book:
        """Return a book without any count."""
        return cls(Term(digest, boot, warmup_windows), window_s, {}, Counts())

    def window(self, now: float) -> int:
        """Return the number of the window that a time (unix seconds) is in."""
        return math.floor(now / self.window_s)

    def begin(self, digest: Digest, now: float) -> tuple[Evidence, ...]:
        """Mark that a digest begins to serve; return the records of the one that served before.

        This window is partial, the warm-up windows follow. What is still answered by the one before
        is counted under the keys of its own term.
        """
        window = self.window(now)
        records: tuple[Evidence, ...] = ()
        if self.term.first is not None:
            records = self.close(window + 1)
            self._closed = Counts()
        self.term = replace(self.term, digest=digest, first=window)
        return records

    def at(self, window: int) -> Counts:
        """Return the present term's counts of a window, to add to."""
        return self.of(self.term.key(window))

    def of(self, key: Key) -> Counts:
        """Return the counts of any key, also of an earlier process or term, to add to."""
        counts = self._open.get(key)
        if counts is None:
            counts = self._open[key] = Counts()
        return counts

    def close(self, before: int) -> tuple[Evidence, ...]:
        """Take out the records of all windows below `before`, ordered by window.

        A window without any request gives a record of zeros: the node was there, nobody asked.
        """
        if self.term.first is not None and before > self.term.first:
            self.at(before - 1)
        keys = sorted(key for key in self._open if key.window < before)
        records = tuple(self._open.pop(key).record(key) for key in keys)
        for key, record in zip(keys, records, strict=True):
            if self.term.owns(key):
                self._closed.add(record)
        return records

    def total(self, now: float) -> Evidence:
        """Return everything that was counted of the answers of the present term."""
        total = Counts()
        key = self.term.key(self.window(now))
        total.add(self._closed.record(key))
        for other, counts in self._open.items():
            if self.term.owns(other):
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
