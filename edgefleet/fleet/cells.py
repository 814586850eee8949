"""Evidence folded into arrays, reading by reading: the records themselves need not be kept.

A cell is one node in one window. What is read again replaces the cell whole, so that late labels
and corrected windows count once; records of the same cell in one reading are added. Tables are of
the smallest integers that hold what came, and grow wider when they must: nothing is cut off.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgefleet.edge.contract import BUCKETS, Digest, Evidence
from edgefleet.fleet.tally import Flags, Tally

Ints = NDArray[np.signedinteger]
Rows = NDArray[np.int64]

FIELDS: Final = (
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
    "serving_us",
    "shadow_us",
)
"""What the gates read of a record."""
_WIDTHS: Final = (np.int8, np.int16, np.int32, np.int64)
_ROOM: Final = 16
"""Windows by which tables grow."""
_AT_ONCE: Final = 20_000
"""Records that are in arrays of full width at one time: about 10 MB."""


@dataclass(frozen=True, slots=True)
class Span:
    """Which records of one node count."""

    node: str
    digest: Digest | None
    """What it ought to serve; None: none count."""
    first: int


@dataclass(frozen=True, slots=True)
class Columns:
    """Records of some nodes as arrays, one entry for each record but where it says otherwise."""

    after: int
    """All windows of these nodes after this one are told anew."""
    nodes: Sequence[str]
    digests: Mapping[Digest, int]
    node: Rows
    """Place in `nodes`."""
    window: Rows
    digest: Rows
    warm: Flags
    counts: Rows
    """Shape (records, FIELDS)."""
    buckets: Rows
    """How many entries of `latency` each record has."""
    latency: Rows
    """(bucket, count), all records' one after the other."""


def columns_of(records: Mapping[str, Sequence[Evidence]], after: int = -1) -> Iterator[Columns]:
    """Yield what nodes said of the windows after `after`, some nodes at a time."""
    some: dict[str, Sequence[Evidence]] = {}
    size = 0
    for node, told in records.items():
        some[node] = told
        size += len(told)
        if size >= _AT_ONCE:
            yield _columns(some, after)
            some, size = {}, 0
    if some:
        yield _columns(some, after)


class Cells:
    """The counts of every span's node by window, each node once."""

    def __init__(self, spans: Sequence[Span], last: int | None = None) -> None:
        """Hold windows up to `last`; None: all that come."""
        self._row = {span.node: row for row, span in enumerate(spans)}
        self._digests = list(dict.fromkeys(span.digest for span in spans))
        place = {digest: number for number, digest in enumerate(self._digests)}
        self._digest = np.array([place[span.digest] for span in spans], dtype=np.int64)
        self._begin = np.array([span.first for span in spans], dtype=np.int64)
        self._first = min((span.first for span in spans), default=0)
        self._last = last
        self._tables: dict[str, Ints] = dict.fromkeys(FIELDS, np.zeros((len(spans), 0), np.int8))
        self._seen = np.zeros((len(spans), 0), dtype=np.bool_)
        self._width = 0
        self._histograms = np.zeros((len(spans), BUCKETS + 1), dtype=np.int64)
        self._latencies: dict[int, list[_Latencies]] = defaultdict(list)

    def enter(self, told: Columns) -> None:
        """Take in a reading; of its nodes nothing stays that it tells anew."""
        if self._last is not None and self._last <= told.after:
            return
        rows = np.array([self._row.get(node, -1) for node in told.nodes], dtype=np.int64)
        self._forget(rows[rows >= 0], max(0, told.after + 1 - self._first))
        row, column = rows[told.node], told.window - self._first
        here = (row >= 0) & told.warm & (told.window >= self._begin[row])
        if self._last is not None:
            here &= told.window <= self._last
        if not here.any():
            return
        self._reach(int(column[here].max()) + 1)
        self._seen[row[here], column[here]] = True
        number = np.array([told.digests.get(d, -1) if d else -1 for d in self._digests])
        counted = here & (told.digest == number[self._digest[row]])
        self._count(row[counted], column[counted], told.counts[counted])
        entries = told.latency[np.repeat(counted, told.buckets)]
        self._time(row[counted], column[counted], told.buckets[counted], entries)

    def tally(self, last: int) -> Tally:
        """Return the counts up to the window `last`; good until the next entry."""
        width = max(0, last - self._first + 1)
        self._reach(width)
        histograms = self._histograms.copy()
        for later in (one for at, some in self._latencies.items() if at >= width for one in some):
            later.take_from(histograms)
        return Tally(
            {name: table[:, :width] for name, table in self._tables.items()},
            self._seen[:, :width],
            histograms.astype(np.float64),
        )

    def _reach(self, width: int) -> None:
        """Make room for so many windows."""
        self._width = max(self._width, width)
        if width > self._seen.shape[1]:
            more = ((0, 0), (0, width + _ROOM - self._seen.shape[1]))
            self._seen = np.pad(self._seen, more)
            self._tables = {name: np.pad(table, more) for name, table in self._tables.items()}

    def _forget(self, rows: Rows, column: int) -> None:
        """Let go of what is known of some nodes from a window on."""
        if column >= self._width:
            return
        for table in (self._seen, *self._tables.values()):
            table[rows, column : self._width] = 0
        gone = np.zeros(len(self._row), dtype=np.bool_)
        gone[rows] = True
        for at in [at for at in self._latencies if at >= column]:
            kept = [one.without(gone, self._histograms) for one in self._latencies.pop(at)]
            if any(kept):
                self._latencies[at] = [one for one in kept if one]

    def _count(self, row: Rows, column: Rows, counts: Rows) -> None:
        width = self._seen.shape[1]
        cell = row * width + column
        order = cell.argsort(kind="stable")
        begin = np.flatnonzero(np.diff(cell[order], prepend=-1))
        row, column = np.divmod(cell[order][begin], width)
        counts = np.add.reduceat(counts[order], begin) if len(begin) else counts
        for name, more in zip(FIELDS, counts.T, strict=True):
            if not more.any():
                continue
            table = self._tables[name]
            total = table[row, column] + more
            if not _fits(total, table.dtype):
                table = self._tables[name] = table.astype(_small(total).dtype)
            table[row, column] = total

    def _time(self, row: Rows, column: Rows, buckets: Rows, latency: Rows) -> None:
        at_latency = np.repeat(column, buckets)
        for at in np.unique(column).tolist():
            mine, inside = column == at, at_latency == at
            bucket, count = latency[inside].T
            one = _Latencies(
                row[mine].astype(np.int32), _small(buckets[mine]), _small(bucket), _small(count)
            )
            one.add_to(self._histograms)
            self._latencies[at].append(one)


@dataclass(frozen=True, slots=True)
class _Latencies:
    """Histograms of some nodes in one window: kept apart, so that they can be taken back."""

    rows: Ints
    buckets: Ints
    """How many entries each row has."""
    bucket: Ints
    count: Ints

    def add_to(self, histograms: Rows) -> None:
        np.add.at(histograms.reshape(-1), self._places(), self.count.astype(np.int64))

    def take_from(self, histograms: Rows) -> None:
        np.subtract.at(histograms.reshape(-1), self._places(), self.count.astype(np.int64))

    def without(self, gone: Flags, histograms: Rows) -> _Latencies | None:
        """Return what is left without some rows, which are taken from `histograms`."""
        off = gone[self.rows]
        if not off.any():
            return self
        self._only(off).take_from(histograms)
        return None if off.all() else self._only(~off)

    def _places(self) -> Rows:
        # Flat and of full width: ten times as quick.
        begin: Rows = self.rows.astype(np.int64) * (BUCKETS + 1)
        return np.repeat(begin, self.buckets) + self.bucket

    def _only(self, which: Flags) -> _Latencies:
        inside = np.repeat(which, self.buckets)
        return _Latencies(
            self.rows[which], self.buckets[which], self.bucket[inside], self.count[inside]
        )


def tally(evidence: Mapping[str, Sequence[Evidence]], spans: Sequence[Span], last: int) -> Tally:
    """Return the counts of each span's node; the columns run from the earliest window to `last`."""
    cells = Cells(spans, last)
    for told in columns_of(evidence):
        cells.enter(told)
    return cells.tally(last)


def _columns(records: Mapping[str, Sequence[Evidence]], after: int) -> Columns:
    told = list(chain.from_iterable(records.values()))
    sizes = np.array([len(each) for each in records.values()], dtype=np.int64)
    digests: dict[Digest, int] = {}
    digest = [digests.setdefault(record.digest, len(digests)) for record in told]
    entries = chain.from_iterable(chain.from_iterable(map(attrgetter("latency"), told)))
    numbers = chain.from_iterable(map(attrgetter("window", "warm", *FIELDS), told))
    table = np.fromiter(numbers, np.int64).reshape(len(told), 2 + len(FIELDS))
    return Columns(
        after=after,
        nodes=tuple(records),
        digests=digests,
        node=np.repeat(np.arange(len(sizes)), sizes),
        window=table[:, 0],
        digest=np.array(digest, dtype=np.int64),
        warm=table[:, 1].astype(np.bool_),
        counts=table[:, 2:],
        buckets=np.fromiter((len(record.latency) for record in told), np.int64, len(told)),
        latency=np.fromiter(entries, np.int64).reshape(-1, 2),
    )


def _fits(values: Ints, dtype: np.dtype[np.signedinteger]) -> bool:
    limits = np.iinfo(dtype)
    return not len(values) or bool(limits.min <= values.min() and values.max() <= limits.max)


def _small(values: Ints) -> Ints:
    """Return the same in the smallest integers that hold them."""
    return values.astype(next(width for width in _WIDTHS if _fits(values, np.dtype(width))))
