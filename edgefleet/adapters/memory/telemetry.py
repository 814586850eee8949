"""Evidence of a memory world: per node and window, the same whenever and with whom it is asked.

Nothing needs to be stored: what a node served when is in its history, and the requests of a window
are drawn from the quality of that digest, the node's own character, and its faults. A node that is
cut off or silent is absent; when it is back, its spool has the windows of the time between.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from edgefleet.adapters.memory.draw import Plant, Reading
from edgefleet.adapters.memory.faults import Kind
from edgefleet.adapters.memory.node import Job, Node
from edgefleet.adapters.memory.windows import EQUAL, Drawn, Quality, Rhythm, characters, reading
from edgefleet.adapters.memory.world import PAST_WINDOWS, MemoryWorld
from edgefleet.edge.contract import Digest, Evidence
from edgefleet.fleet.inventory import NodeView

__all__ = ["MemoryTelemetry", "Quality"]


class MemoryTelemetry:
    """Implements `ports.Telemetry` over a world; `qualities` may be changed at any time."""

    def __init__(
        self,
        world: MemoryWorld,
        qualities: Mapping[Digest, Quality] | None = None,
        *,
        requests: int = 200,
        label_rate: float = 0.1,
        answered: float = 1.0,
        warmup_windows: int = 1,
    ) -> None:
        """`answered`: share of the wanted labels that come."""
        self.qualities = dict(qualities or {})
        self._world = world
        self._rhythm = Rhythm(world.window_s, warmup_windows, world.start_unix)
        self._character = characters(tuple(world.nodes), world.seed)
        self._drawn = Drawn(Plant(world.seed, requests, label_rate, answered))

    def collect(
        self, workload: str, nodes: Sequence[NodeView], after: int
    ) -> Mapping[str, tuple[Evidence, ...]]:
        """Return, per node that answered, the records of closed windows with number > `after`."""
        world = self._world
        with world.lock:
            now_s = world.now_s
            asked = [world.nodes[view.node] for view in nodes if view.node in world.nodes]
            answering = [node for node in asked if _answers(node, workload, now_s)]
            listed: dict[int, list[Reading]] = defaultdict(list)
            for node in answering:
                rhythm = self._clock(node, now_s)
                for window in _closed(rhythm, now_s, after):
                    if seen := self._reading(node, node.jobs[workload], rhythm, window):
                        listed[window].append(seen)
            found: dict[str, list[Evidence]] = {node.name: [] for node in answering}
            for window in sorted(listed):
                records = self._drawn.records(window, listed[window])
                for record, drawn in zip(records, listed[window], strict=True):
                    found[drawn.node].append(record)
            self._drawn.forget(self._rhythm.number(now_s))
        return {name: tuple(records) for name, records in found.items()}

    # --- what is drawn from -----------------------------------------------------------------------

    def _reading(self, node: Node, job: Job, rhythm: Rhythm, window: int) -> Reading | None:
        return reading(
            window,
            rhythm,
            self._character[node.number],
            job.history,
            job.shadows,
            partial(self._quality, node, job, at_s=rhythm.begin_s(window)),
        )

    def _clock(self, node: Node, now_s: float) -> Rhythm:
        """Return how a node cuts time: by its own clock, right or wrong."""
        ahead, behind = (node.fault(kind, now_s) for kind in (Kind.CLOCK_AHEAD, Kind.CLOCK_BEHIND))
        if ahead is None and behind is None:
            return self._rhythm
        off_s = (ahead.value if ahead else 0.0) - (behind.value if behind else 0.0)
        return replace(self._rhythm, start_unix=self._rhythm.start_unix + off_s)

    def _quality(self, node: Node, job: Job, digest: Digest, at_s: float) -> Quality:
        """Return what a digest is worth on a node, whose faults concern what is new there."""
        plain = self.qualities.get(digest, EQUAL)
        if not node.faults or digest == job.champion:
            return plain
        worse = node.fault(Kind.WORSE_ACCURACY, at_s)
        slower = node.fault(Kind.SLOWER, at_s)
        failing = node.fault(Kind.ERRORS, at_s)
        return Quality(
            plain.accuracy - (worse.value / 100 if worse else 0.0),
            plain.latency_factor * (slower.value if slower else 1.0),
            failing.value if failing else plain.error_rate,
        )


def _closed(rhythm: Rhythm, now_s: float, after: int) -> range:
    """Return the windows after a number that are over, and still on a node's spool."""
    current = rhythm.number(now_s)
    first = rhythm.number(0.0) - PAST_WINDOWS
    return range(max(after + 1, first, current - PAST_WINDOWS), current)


def _answers(node: Node, workload: str, now_s: float) -> bool:
    if workload not in node.jobs:
        return False
    node.settle(workload, now_s)
    if node.jobs[workload].serving is None or node.fault(Kind.SILENT, now_s):
        return False
    return node.online_from(now_s) == now_s
