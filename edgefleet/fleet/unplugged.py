"""What one node showed while it was off its network: its own counters before, during, after. Pure.

A node counts its windows by itself and hands them in when it is back. Here they are put together
with what was seen from outside; `edgefleet.fleet.drilled` judges them. Windows are counted from the
last one that was read before the cut, so that a clock that is wrong on the node changes nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from edgefleet.edge.contract import Evidence
from edgefleet.fleet.finding import Outcome
from edgefleet.fleet.inventory import Serving

STEADY: Final = 4
"""Requests in the quietest window before; with fewer a window without any may be chance."""


@dataclass(frozen=True, slots=True)
class Cut:
    """One node's time off its network, as it was seen from outside."""

    node: str
    factory: str
    seconds: int
    """As ordered."""
    read_at: datetime
    """When its windows were read for the last time before."""
    cut_at: datetime
    """When the cut was ordered."""
    seen_away: bool
    """Whether it was seen offline meanwhile."""
    back_at: datetime | None
    """When it was seen online again; None: it was not."""
    waited_s: float
    """How long it was waited for after the cut should have been over."""
    before: Serving | None
    """What its server answered before the cut."""
    after: Serving | None


@dataclass(frozen=True, slots=True)
class Drilled:
    """What became of one node in one drill."""

    node: str
    factory: str
    seconds: int
    served: int
    """Requests that it answered in the windows from the cut to its return."""
    failed: int
    """Requests that it failed or refused in them."""
    gaps: int
    """Windows among them that never came, or in which it answered far less than before."""
    restarted: int
    """How often its server process was another one."""
    recreated: bool
    """Whether its server answers elsewhere: another pod, or another port."""
    windows_late: int
    """Windows that closed while it was cut off, and arrived afterwards."""
    verdict: Outcome
    text: str


@dataclass(frozen=True, slots=True)
class Look:
    """All that is judged of a node."""

    cut: Cut
    past: dict[int, int]
    """Answers by window before the cut, warm windows only."""
    past_failed: int
    during: dict[int, int]
    """Answers by window from the cut to the return."""
    failed: int
    first: int
    """The first window in which it must have served; 0: none was seen before."""
    last: int
    """The last one."""
    closed: int
    """Windows that closed while it was cut off."""
    boots: tuple[str, ...]
    """Of all server processes that were seen, in their order."""

    @property
    def missing(self) -> tuple[int, ...]:
        """Windows that never came although later ones did."""
        newest = max(self.during, default=self.first)
        return tuple(w for w in range(self.first, newest) if w not in self.during)

    @property
    def quiet(self) -> int:
        """Answers of the quietest window before."""
        return min(self.past.values(), default=0)

    @property
    def low(self) -> tuple[int, ...]:
        """Windows with far less answers than the quietest one before."""
        steady = self.quiet >= STEADY
        return tuple(w for w, ok in self.during.items() if steady and ok < self.quiet / 2)

    @property
    def recreated(self) -> bool:
        """Whether its server answers elsewhere."""
        before, after = self.cut.before, self.cut.after
        return bool(before and after and before.url != after.url)


def last_due(cut: Cut, past: Sequence[Evidence], window_s: float) -> int | None:
    """Return the newest window that is needed to judge; None: it is not back, or had none before.

    Two more than have closed until its return: the one that was open then, and one that the
    reading before it came too early for.
    """
    if cut.back_at is None or not past:
        return None
    away_s = (cut.back_at - cut.read_at).total_seconds()
    return newest_of(past) + math.ceil(away_s / window_s) + 2


def newest_of(records: Sequence[Evidence]) -> int:
    """Return the newest window of some records."""
    return max(record.window for record in records)


def arrived(cut: Cut, past: Sequence[Evidence], later: Sequence[Evidence], window_s: float) -> bool:
    """Say whether there is no more to wait for."""
    due = last_due(cut, past, window_s)
    return due is None or (bool(later) and newest_of(later) >= due)


def look_of(cut: Cut, past: Sequence[Evidence], later: Sequence[Evidence], window_s: float) -> Look:
    """Return what is judged: `past` as it was read before the cut, `later` after the return."""
    cold = {record.window for record in past if not record.warm}
    before: Counter[int] = Counter()
    for record in past:
        if record.window not in cold:
            before[record.window] += record.ok
    first = newest_of(past) + 1 if past else 0
    last = last_due(cut, past, window_s)
    mine = [r for r in later if last is not None and first <= r.window <= last]
    during: Counter[int] = Counter()
    for record in mine:
        during[record.window] += record.ok
    # A platform may show late that a node is back: what closes then has not been cut off.
    away_s = min((cut.back_at - cut.cut_at).total_seconds(), cut.seconds) if cut.back_at else 0.0
    named = [serving.boot for serving in (cut.before, cut.after) if serving]
    boots = [*named[:1], *(record.boot for record in sorted(mine, key=_window)), *named[1:]]
    return Look(
        cut,
        dict(before),
        sum(_failed(record) for record in past if record.window not in cold),
        dict(during),
        sum(_failed(record) for record in mine),
        first,
        first if last is None else last,
        math.floor(away_s / window_s),
        tuple(dict.fromkeys(boots)),
    )


def _window(record: Evidence) -> int:
    return record.window


def _failed(record: Evidence) -> int:
    return record.server_errors + record.refused
