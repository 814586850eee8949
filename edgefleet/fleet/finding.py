"""What a look found: outcomes with their numbers, as they are stored, shown and plotted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Outcome(StrEnum):
    """Shown to be good enough, shown to be bad, or not shown."""

    PASS = "pass"  # noqa: S105 - a word of the verdict, no password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


SEVERITY: Final = (Outcome.PASS, Outcome.INCONCLUSIVE, Outcome.FAIL)


@dataclass(frozen=True, slots=True)
class MetricVerdict:
    """One metric at one look. `effect` is canary minus control in `unit`: see `worse_is`."""

    name: str
    outcome: Outcome
    effect: float | None
    """None: nothing could be measured."""
    low: float | None
    """95 % interval of the effect at this look alone: for the eye, the outcome is not read off."""
    high: float | None
    unit: str
    """`pt` (points of per cent) or `%` (relative)."""
    n: int
    """Labels, pairs or requests of the canary."""
    nodes: int
    """Canary nodes that gave evidence."""
    margin: float
    """In `unit`, as a positive number; of a floor: the floor itself."""
    canary: float | None
    """The canary's own value, in `scale`."""
    control: float | None
    evidence: float
    """That it is worse: -log10 of a p-value, or log10 of an e-value."""
    boundary: float
    """What `evidence` must reach by this look."""
    text: str
    scale: str = "%"
    """Unit of `canary` and `control`: `%` or `ms`."""
    pass_evidence: float = 0.0
    """That it is not worse by the margin; same scale as `evidence`."""
    pass_boundary: float = 0.0
    worse_is: int = -1
    """-1: a negative effect is a loss; +1: a positive one is."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """All metrics at one look, and what follows from them."""

    window: int
    """The last window in it, by its number."""
    look: int
    """Windows since the first, counted from 1."""
    outcome: Outcome
    metrics: tuple[MetricVerdict, ...]
    driving: tuple[str, ...]
    """Nodes that contribute most to what decided, or looks worst; most first."""
    text: str
    """One line for each metric."""
    reason: str
    """The outcome in one sentence."""


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """Return the most severe outcome; of nothing INCONCLUSIVE."""
    return max(outcomes, key=SEVERITY.index, default=Outcome.INCONCLUSIVE)


def reason_of(metrics: Iterable[MetricVerdict], outcome: Outcome, look: int, latest: str) -> str:
    """Return one sentence: the outcome and the metrics behind it; `latest` says what comes."""
    behind = [metric for metric in metrics if metric.outcome is outcome]
    head = f"{outcome.value.upper()} at window {look}"
    if outcome is Outcome.PASS:
        return f"{head}: {', '.join(metric.name for metric in behind)} within their margins"
    if outcome is Outcome.FAIL:
        return f"{head}: {'; '.join(metric.text for metric in behind)}"
    names = ", ".join(metric.name for metric in behind)
    return f"{head}: not shown yet for {names or 'any metric'}{latest}"
