"""What a node's window is drawn from: the server at its end, its shadow, the node's own character.

Shared by everyone who plays servers: the memory world, and whoever answers for them over HTTP.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from edgefleet.adapters.memory.draw import CHURN, NORMAL, Plant, Reading, draw, mixed
from edgefleet.edge.contract import Digest, Evidence, ShadowOrder

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


EQUAL: Final = Quality()


class Served(NamedTuple):
    """Which server a node had from a time on."""

    since_s: float
    digest: Digest | None
    """None: nobody serves any more."""
    boot: int | str
    before: Digest | None = None
    """Whom its shadow has; None: there was nobody before."""


class Character(NamedTuple):
    """What a node is like, whatever it runs."""

    node: str
    number: int
    accuracy: float
    """Added to the accuracy of every package."""
    shift: float
    """Added to the log of every latency."""


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How time is cut into windows; times of servers and shadows are seconds after `start_unix`."""

    window_s: float
    warmup: int = 1
    """Windows after a start that are not warm."""
    start_unix: float = 0.0

    def number(self, at_s: float) -> int:
        """Return the window of a time."""
        return math.floor((at_s + self.start_unix) / self.window_s)

    def begin_s(self, window: int) -> float:
        """Return when a window begins."""
        return window * self.window_s - self.start_unix


def reading(
    window: int,
    rhythm: Rhythm,
    character: Character,
    servers: Sequence[Served],
    shadows: Sequence[tuple[float, ShadowOrder]],
    worth: Callable[[Digest], Quality],
) -> Reading | None:
    """Return what a window is drawn from: the server at its end, which may just have come.

    `servers` and `shadows` are ascending; None: nobody served.
    """
    begin_s = rhythm.begin_s(window)
    last = len(servers) - 1
    while last >= 0 and servers[last].since_s >= begin_s + rhythm.window_s:
        last -= 1
    if last < 0 or (digest := servers[last].digest) is None:
        return None
    since_s, _, boot, before = servers[last]
    started = rhythm.number(since_s)
    quality = worth(digest)
    order, reference, toss = _shadow_at(shadows, begin_s), quality, 0.0
    if order is not None and order.against == "previous":
        if before is None:
            order = None  # nobody to answer a second time
        else:
            reference, toss = worth(before), CHURN
    return Reading(
        node=character.node,
        number=character.number,
        digest=digest,
        boot=boot,
        warm=window > started + rhythm.warmup,
        fresh=window == started,
        accuracy=quality.accuracy + character.accuracy,
        latency_shift=math.log(quality.latency_factor) + character.shift,
        error_rate=quality.error_rate,
        shadow_rate=order.rate if order else 0.0,
        reference=reference.accuracy + character.accuracy,
        reference_shift=math.log(reference.latency_factor) + character.shift,
        toss=toss,
    )


class Drawn:
    """Windows as they were drawn: each look reads the last few again."""

    def __init__(self, plant: Plant) -> None:
        self._plant = plant
        self._windows: dict[int, dict[Reading, Evidence]] = {}

    def records(self, window: int, readings: Sequence[Reading]) -> list[Evidence]:
        """Return one record per reading, in their order."""
        drawn = self._windows.setdefault(window, {})
        new = [reading for reading in readings if reading not in drawn]
        drawn.update(zip(new, draw(window, new, self._plant), strict=True))
        return [drawn[reading] for reading in readings]

    def forget(self, current: int) -> None:
        """Let go of what is too old to be read again soon."""
        kept = self._windows.items()
        self._windows = {window: drawn for window, drawn in kept if window >= current - REREAD}


def characters(nodes: Sequence[str], seed: int) -> list[Character]:
    """Return each node's own; it follows from its place in the list and the seed."""
    keys = np.arange(len(nodes), dtype=np.uint64) ^ np.uint64(seed * 2654435761 % 2**64)
    bits = mixed(mixed(keys))
    low = NORMAL[(bits & np.uint64(4095)).astype(np.int64)]
    high = NORMAL[(bits >> np.uint64(52)).astype(np.int64)]
    own = zip((low * NODE_ACCURACY).tolist(), (high * NODE_SPREAD).tolist(), strict=True)
    return [
        Character(node, number, *pair)
        for number, (node, pair) in enumerate(zip(nodes, own, strict=True))
    ]


def _shadow_at(shadows: Sequence[tuple[float, ShadowOrder]], at_s: float) -> ShadowOrder | None:
    at = bisect_right(shadows, at_s, key=lambda entry: entry[0]) - 1
    if at < 0 or shadows[at][1].against == "none":
        return None
    return shadows[at][1]
