"""The end of the spool: the newest windows, merged, for whoever scrapes the node.

It follows the file as it grows, also by another process's hand, and reads only what is new: looking
four times a second costs one stat. It never changes the file. Two rewrites between two looks would
go unseen; each comes after a megabyte of windows.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from edgefleet.edge.contract import Evidence
from edgefleet.edge.gauges import SHOWN
from edgefleet.edge.spool import records_in
from edgefleet.edge.tally import Counts, Key, gather, in_order


@dataclass(slots=True)
class Recent:
    """Follows one spool; its methods block for about as long as a read of one line."""

    path: Path
    _file: tuple[int, int] | None = None
    _read: int = 0
    """Bytes of it that are read; always whole lines."""
    _counts: dict[Key, Counts] = field(default_factory=dict)

    def look(self, current: int) -> tuple[Evidence, ...] | None:
        """Return the merged records of the newest SHOWN windows; None: nothing is new.

        `current` is the window that is open now: what a clock that was wrong has numbered higher is
        not taken for the newest.
        """
        try:
            found = os.stat(self.path)  # noqa: PTH116 - four times a second
        except FileNotFoundError:
            return None
        file = (found.st_dev, found.st_ino)
        if file != self._file or found.st_size < self._read:
            # The first time, or somebody has rewritten it without the oldest windows.
            self._file, self._read, self._counts = file, 0, {}
        if found.st_size == self._read:
            return None
        with self.path.open("rb") as handle:
            handle.seek(self._read)
            # A line that is still being written is read at the next look.
            whole, end, _ = handle.read().rpartition(b"\n")
        self._read += len(whole) + len(end)
        gather(self._counts, records_in(whole))
        return self._newest(current)

    def _newest(self, current: int) -> tuple[Evidence, ...]:
        closed = [key.window for key in self._counts if key.window <= current]
        oldest = max(closed, default=current) - SHOWN
        self._counts = {key: n for key, n in self._counts.items() if key.window > oldest}
        return in_order({key: n for key, n in self._counts.items() if key.window <= current})
