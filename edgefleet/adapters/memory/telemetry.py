"""Evidence of a memory world: per node and window, the same whenever and with whom it is asked.

Nothing needs to be stored: what a node served when is in its history, and the requests of a window
are drawn from the quality of that digest, the node's own character, and its faults. A node that is
cut off or silent is absent; when it is back, its spool has the windows of the time between.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from edgefleet.adapters.memory.draw import CHURN, NORMAL, Plant, Reading, draw, mixed
from edgefleet.adapters.memory.faults import Kind
from edgefleet.adapters.memory.node import Job, Node
from edgefleet.adapters.memory.world import PAST_WINDOWS, MemoryWorld
from edgefleet.edge.contract import Digest, Evidence, ShadowOrder
from edgefleet.fleet.inventory import NodeView

NODE_SPREAD: Final = 0.1
NODE_ACCURACY: Final = 0.01
"""Standard deviation between nodes: of the log latency's middle, and of the accuracy."""
REREAD: Final = 8
"""Windows that are kept once they are drawn."""


@dataclass(frozen=True, slots=True)
class Quality:
    """What a package is worth, whoever runs it."""

    accuracy: float = 0.95
    latency_factor: float = 1.0
    error_rate: float = 0.001


_EQUAL: Final = Quality()


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
        self._plant = Plant(world.seed, requests, label_rate, answered)
        self._warmup = warmup_windows
        self._character = _characters(world)
        self._drawn: dict[int, dict[Reading, Evidence]] = {}

    def collect(
        self, workload: str, nodes: Sequence[NodeView], after: int
    ) -> Mapping[str, tuple[Evidence, ...]]:
        """Return, per node that answered, the records of closed windows with number > `after`."""
        world = self._world
        with world.lock:
            now_s = world.now_s
            first = math.floor(world.start_unix / world.window_s) - PAST_WINDOWS
            current = math.floor((world.start_unix + now_s) / world.window_s)
            windows = range(max(after + 1, first, current - PAST_WINDOWS), current)
            asked = [world.nodes[view.node] for view in nodes if view.node in world.nodes]
            answering = [node for node in asked if _answers(node, workload, now_s)]
            readings = {w: self._readings(workload, answering, w) for w in windows}
            found: dict[str, list[Evidence]] = {node.name: [] for node in answering}
            for window, listed in readings.items():
                for record, reading in zip(self._records(window, listed), listed, strict=True):
                    found[reading.node].append(record)
            self._drawn = {w: drawn for w, drawn in self._drawn.items() if w >= current - REREAD}
        return {name: tuple(records) for name, records in found.items()}

    # --- what is drawn from -----------------------------------------------------------------------

    def _records(self, window: int, readings: Sequence[Reading]) -> list[Evidence]:
        """Draw a window, or hand out again what is drawn already: each look reads the last few."""
        drawn = self._drawn.setdefault(window, {})
        new = [reading for reading in readings if reading not in drawn]
        drawn.update(zip(new, draw(window, new, self._plant), strict=True))
        return [drawn[reading] for reading in readings]

    def _readings(self, workload: str, nodes: Sequence[Node], window: int) -> list[Reading]:
        readings = (self._reading(node, node.jobs[workload], window) for node in nodes)
        return [reading for reading in readings if reading is not None]

    def _reading(self, node: Node, job: Job, window: int) -> Reading | None:
        """Return what a window is drawn from: the server at its end, which may just have come."""
        begin_s = window * self._world.window_s - self._world.start_unix
        last = len(job.history) - 1
        while last >= 0 and job.history[last][0] >= begin_s + self._world.window_s:
            last -= 1
        if last < 0 or (digest := job.history[last][1]) is None:
            return None
        since_s, _, boot = job.history[last]
        started = math.floor((since_s + self._world.start_unix) / self._world.window_s)
        quality = self._quality(node, job, digest, begin_s)
        before = job.history[last - 1][1] if last else None
        order, reference, toss = _shadow_at(job, begin_s), quality, 0.0
        if order is not None and order.against == "previous":
            if before is None:
                order = None  # nobody to answer a second time
            else:
                reference, toss = self._quality(node, job, before, begin_s), CHURN
        own_accuracy, own_shift = self._character[node.number]
        return Reading(
            node=node.name,
            number=node.number,
            digest=digest,
            boot=boot,
            warm=window > started + self._warmup,
            fresh=window == started,
            accuracy=quality.accuracy + own_accuracy,
            latency_shift=math.log(quality.latency_factor) + own_shift,
            error_rate=quality.error_rate,
            shadow_rate=order.rate if order else 0.0,
            reference=reference.accuracy + own_accuracy,
            reference_shift=math.log(reference.latency_factor) + own_shift,
            toss=toss,
        )

    def _quality(self, node: Node, job: Job, digest: Digest, at_s: float) -> Quality:
        """Return what a digest is worth on a node, whose faults concern what is new there."""
        plain = self.qualities.get(digest, _EQUAL)
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


def _shadow_at(job: Job, at_s: float) -> ShadowOrder | None:
    at = bisect_right(job.shadows, at_s, key=lambda entry: entry[0]) - 1
    if at < 0 or job.shadows[at][1].against == "none":
        return None
    return job.shadows[at][1]


def _answers(node: Node, workload: str, now_s: float) -> bool:
    if workload not in node.jobs:
        return False
    node.settle(workload, now_s)
    if node.jobs[workload].serving is None or node.fault(Kind.SILENT, now_s):
        return False
    return node.online_from(now_s) == now_s


def _characters(world: MemoryWorld) -> list[tuple[float, float]]:
    """Return each node's own (accuracy offset, log latency offset)."""
    keys = np.arange(len(world.nodes), dtype=np.uint64) ^ np.uint64(world.seed * 2654435761 % 2**64)
    bits = mixed(mixed(keys))
    low = NORMAL[(bits & np.uint64(4095)).astype(np.int64)]
    high = NORMAL[(bits >> np.uint64(52)).astype(np.int64)]
    return list(zip((low * NODE_ACCURACY).tolist(), (high * NODE_SPREAD).tolist(), strict=True))
