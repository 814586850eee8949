"""What was read of a workload's nodes before, so that a look asks for the last few windows only.

A window is settled when a node has shown so much later ones that nothing of it can be on the way:
SHOWN windows after it, it is not shown any more, and as many are left for parts that lag. A node
that a cut connection has silenced settles nothing: what its agent kept is asked for until it comes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from edgefleet.adapters.prometheus_samples import Sighting, Whole, keep
from edgefleet.edge.contract import Evidence
from edgefleet.edge.gauges import SHOWN
from edgefleet.edge.spool import KEPT_WINDOWS
from edgefleet.edge.tally import Key

_LAG: Final = 2 * SHOWN


@dataclass(slots=True)
class _Node:
    begin: int
    """Every window from here on is known, or is asked for."""
    settled: int
    at: float = -math.inf
    records: dict[Key, Whole] = field(default_factory=dict)


@dataclass(slots=True)
class Past:
    """One workload's."""

    window_s: float
    _nodes: dict[str, _Node] = field(default_factory=dict)

    def first(self, node: str, after: int, current: int) -> int:
        """Return the first window to ask for, to know all after `after` that a node keeps."""
        begin = max(after + 1, current - KEPT_WINDOWS)
        known = self._nodes.get(node)
        if known is None or begin < known.begin:
            return begin
        return max(begin, known.settled + 1)

    def learn(self, asked: Mapping[str, int], seen: Mapping[str, Sighting], current: int) -> None:
        """Take in what was seen of nodes whose windows from a first one on were asked for."""
        for node, first in asked.items():
            known = self._nodes.get(node)
            if known is None or first < known.begin:
                known = self._nodes[node] = _Node(first, first - 1)
            sighting = seen.get(node)
            if sighting is None:
                continue
            self.window_s = sighting.window_s
            known.at = max(known.at, sighting.at)
            # Of windows before the first one, only a part was asked for.
            fresh = {key: one for key, one in sighting.records.items() if key.window >= first}
            keep(known.records, fresh)
            # A clock that was wrong for a moment must not settle what has not been yet.
            newest = min(max((key.window for key in fresh), default=first), current)
            known.settled = max(known.settled, newest - _LAG)
            oldest = current - KEPT_WINDOWS
            known.begin = max(known.begin, oldest)
            known.records = {k: one for k, one in known.records.items() if k.window >= oldest}

    def records(self, node: str, after: int) -> tuple[Evidence, ...] | None:
        """Return a node's records; None: it was not there while these windows were."""
        known = self._nodes.get(node)
        if known is None:
            return None
        found = sorted(key for key in known.records if key.window > after)
        if not found and known.at < (after + 1) * self.window_s:
            return None
        return tuple(known.records[key].record for key in found)
