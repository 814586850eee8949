"""Requests drawn from hashes: thousands of nodes at once, each the same whoever it is drawn with.

A request's outcome follows from a hash of (seed, window, node, request) alone. Serving and
reference see the same images: both are right on the easy ones, and a share `CHURN` of the images is
a toss for each of them alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgefleet.edge.contract import BOUNDS_S, BUCKETS, Digest, Evidence

CHURN: Final = 0.4
"""Gives about 4 % discordant pairs at 95 % accuracy, as in the simulations behind the verdict."""
MEDIAN_S: Final = 0.005
SPREAD: Final = 0.3
"""Standard deviation of the log latency of one node's requests."""
GOLDEN: Final = 32
CHUNK: Final = 1000
"""Nodes at once: more makes arrays that leave the processor's cache."""

NORMAL: Final = np.array([NormalDist().inv_cdf((i + 0.5) / 4096) for i in range(4096)])
"""Normal quantiles, looked up by 12 bits."""
_STEP: Final = math.log(BOUNDS_S[1] / BOUNDS_S[0])

Floats = NDArray[np.float64]
Hashes = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Plant:
    """What is the same on all nodes."""

    seed: int = 0
    requests: int = 200
    """Per node and window."""
    label_rate: float = 0.1
    answered: float = 1.0
    """Share of the wanted labels that come."""


class Reading(NamedTuple):
    """What one node's requests of one window are drawn from."""

    node: str
    number: int
    """Of the node: its part of the hash."""
    digest: Digest
    boot: int | str
    warm: bool
    fresh: bool
    """The server started in this window: it answered the golden set."""
    accuracy: float
    latency_shift: float
    """Added to the log of MEDIAN_S."""
    error_rate: float
    shadow_rate: float
    reference: float
    """Accuracy of the shadow."""
    reference_shift: float
    toss: float
    """Share of images on which serving and shadow differ by chance: none where both are one."""


def draw(window: int, readings: Sequence[Reading], plant: Plant) -> list[Evidence]:
    """Return one record per reading, in their order."""
    return [
        record
        for first in range(0, len(readings), CHUNK)
        for record in _draw(window, readings[first : first + CHUNK], plant)
    ]


def _draw(window: int, readings: Sequence[Reading], plant: Plant) -> list[Evidence]:
    count, size = len(readings), plant.requests
    keys = np.array([r.number for r in readings], np.uint64)
    base = mixed(np.array([(plant.seed * 0x9E3779B97F4A7C15 + window) % 2**64], np.uint64))
    nodes: Hashes = mixed(mixed(keys ^ base))[:, None]
    ids = np.add(nodes, np.arange(size, dtype=np.uint64), dtype=np.uint64)
    one, two = mixed(ids), mixed(ids ^ np.uint64(0xA5A5A5A5A5A5A5A5))
    column = {
        name: np.array([getattr(r, name) for r in readings])[:, None]
        for name in ("accuracy", "latency_shift", "error_rate", "shadow_rate", "reference")
    }
    toss = np.array([r.toss for r in readings])[:, None]

    ok = _bits(one, 0, 24) >= column["error_rate"]
    z = NORMAL[(one >> np.uint64(24)).astype(np.int64) & 4095]
    log_s = math.log(MEDIAN_S) + column["latency_shift"] + SPREAD * z
    bucket = np.ceil((log_s - math.log(BOUNDS_S[0])) / _STEP)
    cell = np.clip(bucket, 0, BUCKETS).astype(np.int64)
    cell += np.arange(count)[:, None] * (BUCKETS + 1)
    latency = np.bincount(cell[ok], minlength=count * (BUCKETS + 1)).reshape(count, -1)

    wanted = ok & (_bits(one, 36, 14) < plant.label_rate)
    labelled = wanted & (_bits(one, 50, 14) < plant.answered)
    image = _bits(two, 0, 21)
    right = image < column["accuracy"]
    shadowed = ok & (_bits(two, 54, 10) < column["shadow_rate"])
    # The toss and its outcome share bits: given a toss, they are uniform again below `toss`.
    other = _bits(two, 21, 33)
    tossed = other < toss
    redrawn = np.where(tossed, other / np.maximum(toss, 1e-9), image)
    reference_right = redrawn < column["reference"]
    differ = shadowed & (right != reference_right)
    paired = shadowed & labelled
    counts = np.stack(
        [
            ok.sum(1),
            wanted.sum(1),
            labelled.sum(1),
            (labelled & right).sum(1),
            shadowed.sum(1),
            differ.sum(1),
            paired.sum(1),
            (paired & differ & right).sum(1),
            (paired & differ & ~right).sum(1),
        ],
        axis=1,
    ).tolist()
    rows = zip(readings, counts, latency, strict=True)
    return [_record(window, size, *row) for row in rows]


def _record(
    window: int, size: int, reading: Reading, counts: list[int], latency: NDArray[np.int64]
) -> Evidence:
    ok, wanted, labelled, correct, shadowed, disagreed, paired, gains, losses = counts
    filled = latency.nonzero()[0]
    us = shadowed * MEDIAN_S * 1e6
    return Evidence(
        window=window,
        digest=reading.digest,
        boot=f"{reading.node}/{reading.boot}",
        warm=reading.warm,
        ok=ok,
        server_errors=size - ok,
        latency=tuple(zip(filled.tolist(), latency[filled].tolist(), strict=True)),
        wanted=wanted,
        labelled=labelled,
        correct=correct,
        shadowed=shadowed,
        disagreed=disagreed,
        paired=paired,
        gains=gains,
        losses=losses,
        disagreed_labelled=gains + losses,
        shadow_gains=gains,
        shadow_losses=losses,
        serving_us=int(us * math.exp(reading.latency_shift)),
        shadow_us=int(us * math.exp(reading.reference_shift)),
        golden_total=GOLDEN if reading.fresh else 0,
        golden_agreed=GOLDEN if reading.fresh else 0,
        queue_peak=1,
    )


def mixed(keys: Hashes) -> Hashes:
    """Return the splitmix64 finaliser of each key (Steele, Lea, Flood 2014)."""
    with np.errstate(over="ignore"):
        keys = keys + np.uint64(0x9E3779B97F4A7C15)
        keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return keys ^ (keys >> np.uint64(31))


def _bits(keys: Hashes, low: int, count: int) -> Floats:
    """Return `count` bits from `low` on as numbers in [0, 1)."""
    cut = (keys >> np.uint64(low)) & np.uint64(2**count - 1)
    return cut.astype(np.float64) * 2.0**-count
