"""The node's file of closed windows: JSON lines, appended by whichever processes serve it.

An append is one write with O_APPEND of whole lines, so the old and the new process may both do it.
Once in a while one of them rewrites the file without the oldest windows; writers hold a shared
lock and the rewriter an exclusive one, on a file beside it. A line torn by a power cut is skipped.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from edgefleet.edge.contract import Evidence
from edgefleet.edge.tally import encode, merge

KEPT_WINDOWS: Final = 240
_SLACK_BYTES: Final = 1_000_000
"""Size from which on a rewrite is tried; two windows' records are about 1 kB."""


# Made at import: threads read, and a type must not be met for the first time by two at once.
_RECORDS: Final = msgspec.json.Decoder(Evidence)


def records_in(content: bytes) -> Iterator[Evidence]:
    """Yield the records of some lines of a spool; a torn one is skipped."""
    for line in content.splitlines():
        try:
            yield _RECORDS.decode(line)
        except msgspec.DecodeError:
            continue


@dataclass(frozen=True, slots=True)
class Spool:
    """Windows on disk; its methods block for about a millisecond: call them in a thread."""

    path: Path

    def append(self, records: Sequence[Evidence]) -> None:
        """Add records; sometimes drop the oldest windows and merge what can be merged."""
        if not records:
            return
        with self._locked(fcntl.LOCK_SH):
            handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(handle, encode(records))
                size = os.fstat(handle).st_size
            finally:
                os.close(handle)
        if size > _SLACK_BYTES:
            self.shorten()

    def read(self, after: int) -> tuple[Evidence, ...]:
        """Return the merged records with window > `after`, of the newest windows kept."""
        records = merge(self._lines())
        oldest = records[-1].window - KEPT_WINDOWS if records else 0
        return tuple(record for record in records if record.window > max(after, oldest))

    def shorten(self) -> None:
        """Rewrite the file with the newest windows only, merged."""
        with self._locked(fcntl.LOCK_EX):
            kept = self.read(after=-1)
            draft = self.path.with_suffix(".draft")
            draft.write_bytes(encode(kept))
            draft.replace(self.path)

    def _lines(self) -> Iterator[Evidence]:
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return
        yield from records_in(content)

    @contextmanager
    def _locked(self, mode: int) -> Iterator[None]:
        handle = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, mode)
            yield
        finally:
            os.close(handle)
