"""Writes a camera's log: counts in memory, appended as buckets once a second."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from edgefleet.plant.record import BUCKET_S, Bucket

Fate = Literal["ok", "failed", "refused"]


@dataclass(slots=True)
class _Open:
    fates: Counter[str] = field(default_factory=Counter)
    by: Counter[str] = field(default_factory=Counter)


class Tape:
    """One camera's."""

    def __init__(self, path: Path) -> None:
        """Append to `path`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._open: defaultdict[int, _Open] = defaultdict(_Open)
        self.totals: Counter[str] = Counter()

    def note(self, sent: float, fate: Fate, digest: str = "") -> None:
        """Count a request that was sent at `sent`, unix seconds."""
        bucket = self._open[math.floor(sent / BUCKET_S)]
        bucket.fates[fate] += 1
        self.totals[fate] += 1
        if fate == "ok":
            bucket.by[digest.removeprefix("sha256:")[:12]] += 1

    def flush(self) -> None:
        """Append what was counted; a late answer becomes a second line of its bucket."""
        if not self._open:
            return
        lines = [
            msgspec.json.encode(
                Bucket(
                    t=round(number * BUCKET_S, 1),
                    ok=bucket.fates["ok"],
                    failed=bucket.fates["failed"],
                    refused=bucket.fates["refused"],
                    by=dict(bucket.by),
                )
            )
            for number, bucket in sorted(self._open.items())
        ]
        self._open.clear()
        with self._path.open("ab") as stream:
            stream.write(b"\n".join(lines) + b"\n")
