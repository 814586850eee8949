"""What a model answers, how much worse one is than another, and which is quicker.

Both comparisons are paired: the same samples for accuracy, interleaved runs of the same input for
latency, so that what both sides share (the sample's difficulty, a busy machine) falls out. Nothing
here decides; it returns numbers with their uncertainty.
"""

from __future__ import annotations

import math
import random
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist, median
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from edgefleet.errors import Refused

Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.integer]
Samples = npt.NDArray[np.generic]
"""Inputs [n, ...] in the type that the model takes: uint8 or float32."""

BATCH: Final = 32
RACE_ROUNDS: Final = 200
RACE_SEED: Final = 20_050_324
_WARM_RUNS: Final = 5
_LEVELS: Final = {
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "none": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
}


def open_session(
    model: Path,
    *,
    threads: int = 1,
    level: Literal["all", "extended", "none"] = "all",
    optimized: Path | None = None,
) -> ort.InferenceSession:
    """Open a model as the edge does: CPU only, threads stated, none of them spinning.

    Level `extended` leaves out the memory layout of this CPU, which renames nodes; `none` runs the
    graph as it is written. `optimized` names a file that receives the graph as it was rewritten.

    Raises:
        Refused: the runtime cannot load the file.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.graph_optimization_level = _LEVELS[level]
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    try:
        return ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's errors share no other base class
        raise Refused(
            model.name, f"onnxruntime cannot load it: {error}", "Export it again with opset 17"
        ) from error


def predict(session: ort.InferenceSession, inputs: Samples, batch: int = BATCH) -> Floats:
    """Return the first output for all inputs: float32 of shape [n, classes]."""
    name = session.get_inputs()[0].name
    parts = [
        np.asarray(session.run(None, {name: inputs[i : i + batch]})[0], dtype=np.float32)
        for i in range(0, len(inputs), batch)
    ]
    return np.concatenate(parts)


def right(answers: Floats, labels: Labels) -> Flags:
    """Return for each sample whether the likeliest class is its label."""
    return np.asarray(answers.argmax(axis=1) == labels, dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class Drop:
    """Loss of accuracy on the same samples, in points; negative is a gain."""

    points: float
    upper_points: float
    """One-sided upper confidence bound of `points`."""
    n: int
    gains: int
    """Samples that only the new model has right."""
    losses: int
    """Samples that only the base model has right."""

    def __str__(self) -> str:
        """Show the estimate with its bound and its sample."""
        return f"{self.points:.2f} pt (upper bound {self.upper_points:.2f} pt, n={self.n})"


def paired_drop(base_right: Flags, new_right: Flags, confidence: float = 0.95) -> Drop:
    """Compare two models on the same samples.

    The bound is the one of Agresti and Min, "Simple improved confidence intervals for comparing
    matched proportions", Statistics in Medicine 24 (2005): Wald's, after half an observation is
    added to each of the four cells. Unlike Wald's own it stays above zero where no answer changed,
    so that a small set cannot prove equality.

    Raises:
        Refused: there are no samples, or the two do not pair up.
    """
    n = len(base_right)
    if n == 0 or n != len(new_right):
        raise Refused(
            "validation set",
            f"{n} answers of the base against {len(new_right)} of the new model",
            "Both must answer the same samples, at least one",
        )
    losses = int(np.count_nonzero(base_right & ~new_right))
    gains = int(np.count_nonzero(new_right & ~base_right))
    size, fewer, more = n + 2, losses + 0.5, gains + 0.5
    shift = fewer - more
    spread = math.sqrt(fewer + more - shift * shift / size)
    upper = (shift + NormalDist().inv_cdf(confidence) * spread) / size
    return Drop(
        points=100 * (losses - gains) / n,
        upper_points=100 * upper,
        n=n,
        gains=gains,
        losses=losses,
    )


@dataclass(frozen=True, slots=True)
class Race:
    """How many times quicker B is than A, with a 95 % interval."""

    ratio: float
    low: float
    high: float
    a_ms: float
    b_ms: float
    rounds: int

    def __str__(self) -> str:
        """Show the ratio with its interval."""
        return f"x{self.ratio:.2f} [{self.low:.2f}, {self.high:.2f}]"

    @property
    def in_words(self) -> str:
        """What B is beside A; where the interval, as shown, holds 1, neither is the quicker one."""
        low, high = round(self.low, 2), round(self.high, 2)
        said = "as fast" if low <= 1 <= high else f"{self.ratio:.2f}x as fast"
        return f"{said} [{low:.2f}, {high:.2f}]"


def median_interval(values: list[float], confidence: float = 0.95) -> tuple[float, float, float]:
    """Return the median and a distribution-free interval for it, from order statistics.

    The number of values below the true median is binomial(n, 1/2): the interval goes from the k-th
    smallest to the k-th largest value, with the largest k that keeps the confidence. With fewer
    than six values it is the whole range, and says less than `confidence`.
    """
    ordered = sorted(values)
    n = len(ordered)
    tail, k = 0.0, 0
    while k < n // 2:
        tail += math.comb(n, k) / 2**n
        if tail > (1 - confidence) / 2:
            break
        k += 1
    k = max(k, 1)
    return median(ordered), ordered[k - 1], ordered[n - k]


def race(
    session_a: ort.InferenceSession,
    session_b: ort.InferenceSession,
    inputs: Samples,
    rounds: int = RACE_ROUNDS,
    seed: int = RACE_SEED,
) -> Race:
    """Time two models in pairs of single runs on one input, in random order within each pair."""
    order = random.Random(seed)  # noqa: S311  # no secret: a recorded seed for the order of runs
    named = {session: session.get_inputs()[0].name for session in (session_a, session_b)}
    images = [inputs[i : i + 1] for i in range(min(len(inputs), 64))]
    for _ in range(_WARM_RUNS):
        for session, name in named.items():
            session.run(None, {name: images[0]})
    times_a: list[int] = []
    times_b: list[int] = []
    for i in range(rounds):
        pair = [(session_a, times_a), (session_b, times_b)]
        order.shuffle(pair)
        for session, times in pair:
            feed = {named[session]: images[i % len(images)]}
            start = time.perf_counter_ns()
            session.run(None, feed)
            times.append(time.perf_counter_ns() - start)
    ratios = [a / b for a, b in zip(times_a, times_b, strict=True)]
    ratio, low, high = median_interval(ratios)
    return Race(ratio, low, high, median(times_a) / 1e6, median(times_b) / 1e6, rounds)


def percent(share: float) -> str:
    """Return a share as people read it."""
    return f"{100 * share:.1f} %"
