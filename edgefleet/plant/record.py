"""What the cameras lived through, read back: totals, and what happened around each cut-over.

Each camera's log has one JSON line per 0.1 s in which a request was sent; lines of the same 0.1 s
add up. A request counts where it was sent, whenever its answer came.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

BUCKET_S: Final = 0.1
EVENTS_FILE: Final = "events.jsonl"
FOLDER: Final = "plant"


class Bucket(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One camera's requests sent within `BUCKET_S` from `t`, unix seconds."""

    t: float
    ok: int = 0
    failed: int = 0
    """No connection, no answer in time, 4xx, or 5xx other than 503."""
    refused: int = 0
    """503."""
    by: dict[str, int] = {}
    """First 12 digits of the digest that answered -> ok."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Requests and what became of them; nothing is retried, so these are all."""

    ok: int = 0
    failed: int = 0
    refused: int = 0

    @property
    def requests(self) -> int:
        """All that were sent."""
        return self.ok + self.failed + self.refused

    @property
    def lost(self) -> int:
        """Images that nobody judged."""
        return self.failed + self.refused


class Cutover(msgspec.Struct, frozen=True, kw_only=True):
    """One replacement of a server, as the supervisor noted it; times are unix seconds."""

    factory: str
    node: str
    workload: str
    old: str
    new: str
    ready: float
    drained: float


class _Event(msgspec.Struct, frozen=True):
    kind: str


@dataclass(frozen=True, slots=True)
class PlantRecord:
    """Everything that was logged."""

    cameras: Mapping[tuple[str, str, str], tuple[Bucket, ...]]
    """(workload, factory, node) -> its buckets by time."""
    cutovers: tuple[Cutover, ...]

    @property
    def totals(self) -> Counts:
        """All requests of all cameras."""
        return _sum(bucket for buckets in self.cameras.values() for bucket in buckets)

    def around(self, cutover: Cutover, within_s: float) -> Counts:
        """Return its node's requests near a cut-over.

        From `within_s` before the new server was ready, to `within_s` after the old one ended.
        """
        buckets = self.cameras.get((cutover.workload, cutover.factory, cutover.node), ())
        first = bisect_left(buckets, cutover.ready - within_s, key=_time)
        after = bisect_left(buckets, cutover.drained + within_s, key=_time)
        return _sum(buckets[first:after])


def read(root: Path) -> PlantRecord:
    """Return the record in a supervisor's root folder; a torn last line is left out."""
    cameras = {}
    for path in sorted((root / FOLDER).glob("*/*/*.jsonl")):
        buckets = [msgspec.json.decode(line, type=Bucket) for line in _lines(path)]
        key = (path.parent.parent.name, path.parent.name, path.stem)
        cameras[key] = tuple(sorted(buckets, key=_time))
    cutovers = tuple(
        msgspec.json.decode(line, type=Cutover)
        for line in _lines(root / EVENTS_FILE)
        if msgspec.json.decode(line, type=_Event).kind == "cutover"
    )
    return PlantRecord(cameras, cutovers)


def log_path(root: Path, workload: str, factory: str, node: str) -> Path:
    """Return where a camera's log is."""
    return root / FOLDER / workload / factory / f"{node}.jsonl"


def _lines(path: Path) -> Iterator[bytes]:
    if not path.exists():
        return
    for line in path.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):
            yield line


def _time(bucket: Bucket) -> float:
    return bucket.t


def _sum(buckets: Iterable[Bucket]) -> Counts:
    ok = failed = refused = 0
    for bucket in buckets:
        ok += bucket.ok
        failed += bucket.failed
        refused += bucket.refused
    return Counts(ok, failed, refused)
