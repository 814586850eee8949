"""Which nodes to leave in float, and whether INT8 is worth it: the search, without the hands.

First everything in INT8, by two ways of calibrating. If the loss is too large, nodes are ranked by
the harm that each does when it alone is quantized ("exclude only this one" shows nothing when
errors interact), and the guiltiest are excluded until the loss is within its limits; then each
earlier exclusion is given back if the loss allows it. Accuracy alone chooses, and it repeats
exactly; latency, which is noisy, is asked once, for the last yes or no. Budgets are evaluations
and seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, Literal, Protocol

from edgefleet.model.evaluate import Drop, Race

Method = Literal["minmax", "percentile"]
Precision = Literal["fp32", "int8", "mixed"]
Cut = Literal["no", "evaluations", "seconds"]
METHODS: Final[tuple[Method, ...]] = ("minmax", "percentile")
_UPPER_FACTOR: Final = 2.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What INT8 may cost, must bring, and how long it may be looked for."""

    max_drop_pt: float
    min_speedup: float
    max_evaluations: int
    max_s: float

    def allows(self, drop: Drop) -> bool:
        """Say whether estimate and bound are within: the bound may reach twice the limit."""
        return (
            drop.points <= self.max_drop_pt
            and drop.upper_points <= _UPPER_FACTOR * self.max_drop_pt
        )


@dataclass(frozen=True, slots=True)
class Trial:
    """One quantized model, measured on the whole validation set."""

    accuracy: float
    drop: Drop
    size_bytes: int
    stray: tuple[str, ...] = ()
    """Nodes that stayed float in the runtime's own graph although they were not excluded."""


class Workbench(Protocol):
    """The hands: quantizes and measures. Every answer but `race` repeats exactly."""

    @property
    def candidates(self) -> tuple[str, ...]:
        """The nodes that can be excluded, in the graph's order."""
        ...

    def trial(self, excluded: tuple[str, ...], method: Method) -> Trial:
        """Quantize all but the excluded nodes and measure."""
        ...

    def guilt(self, nodes: tuple[str, ...], method: Method) -> float:
        """Return the harm done when these nodes alone are quantized, measured cheaply."""
        ...

    def race(self, excluded: tuple[str, ...], method: Method) -> Race:
        """Time a model that was tried before (B) against FP32 (A)."""
        ...


@dataclass(frozen=True, slots=True)
class Try:
    """One line of the trace."""

    excluded: tuple[str, ...]
    method: Method
    accuracy: float
    drop_pt: float
    upper_pt: float
    ratio: float | None
    """Times quicker than FP32; None: not raced, since its loss was not within the limits."""
    size_bytes: int
    seconds: float
    outcome: str
    stray: tuple[str, ...] = ()
    """Not excluded, yet kept in float by the runtime."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """Neighbouring nodes (one, unless the budget forces blocks) and the harm they do alone."""

    nodes: tuple[str, ...]
    guilt: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer, why, and all that was looked at."""

    precision: Precision
    reason: str
    best: Try | None
    """The chosen try, or the nearest miss."""
    race: Race | None
    drop: Drop | None
    trace: tuple[Try, ...]
    ranking: tuple[Suspect, ...] = ()
    evaluations: int = 0
    cut: Cut = "no"
    """Which budget ended the search; a cut by seconds may fall elsewhere on another machine."""


class _Spent(Exception):
    """The budget is used up; `_Search.cut` says which. Never leaves this module."""


@dataclass(slots=True)
class _Search:
    bench: Workbench
    limits: Limits
    monotonic: Callable[[], float]
    started: float
    evaluations: int = 0
    trace: list[Try] = field(default_factory=list)
    drops: list[Drop] = field(default_factory=list)
    ranking: tuple[Suspect, ...] = ()
    cut: Cut = "no"

    def spend(self) -> None:
        if self.evaluations >= self.limits.max_evaluations:
            self.cut = "evaluations"
            raise _Spent
        if self.monotonic() - self.started > self.limits.max_s:
            self.cut = "seconds"
            raise _Spent
        self.evaluations += 1

    def attempt(self, excluded: tuple[str, ...], method: Method) -> bool:
        self.spend()
        before = self.monotonic()
        trial = self.bench.trial(excluded, method)
        good = self.limits.allows(trial.drop)
        limit = f"limit {self.limits.max_drop_pt:g} pt"
        outcome = f"drop {trial.drop} {'within' if good else 'above'} the {limit}"
        if trial.stray:
            outcome += f"; the runtime kept {', '.join(trial.stray)} in float"
        self.drops.append(trial.drop)
        self.trace.append(
            Try(
                excluded=excluded,
                method=method,
                accuracy=trial.accuracy,
                drop_pt=trial.drop.points,
                upper_pt=trial.drop.upper_points,
                ratio=None,
                size_bytes=trial.size_bytes,
                seconds=self.monotonic() - before,
                outcome=outcome,
                stray=trial.stray,
            )
        )
        return good

    def find(self) -> int | None:
        """Return the index of the try to ship, None if there is none."""
        for method in METHODS:
            if self.attempt((), method):
                return len(self.trace) - 1
        method = min(METHODS, key=lambda m: (self.trace[METHODS.index(m)].drop_pt, m))
        self.rank(method)
        return self.exclude(method)

    def rank(self, method: Method) -> None:
        names = self.bench.candidates
        room = max((self.limits.max_evaluations - self.evaluations) // 2, 1)
        step = -(-len(names) // room)
        suspects: list[Suspect] = []
        for block in (names[i : i + step] for i in range(0, len(names), step)):
            self.spend()
            suspects.append(Suspect(block, self.bench.guilt(block, method)))
        self.ranking = tuple(sorted(suspects, key=lambda suspect: -suspect.guilt))

    def exclude(self, method: Method) -> int | None:
        out: list[Suspect] = []
        for suspect in self.ranking[:-1]:  # all of them excluded would be FP32 under another name
            out.append(suspect)
            if self.attempt(self._names(out), method):
                return self.give_back(out, method)
        if any(len(suspect.nodes) > 1 for suspect in self.ranking):
            self.cut = "evaluations"  # with more of them, single nodes could have been tried
        return None

    def give_back(self, out: list[Suspect], method: Method) -> int:
        found = len(self.trace) - 1
        kept = list(out)
        for suspect in reversed(out[:-1]):  # without the last one it was not good enough
            fewer = [other for other in kept if other is not suspect]
            try:
                good = self.attempt(self._names(fewer), method)
            except _Spent:
                return found
            if good:
                kept, found = fewer, len(self.trace) - 1
        return found

    def _names(self, suspects: list[Suspect]) -> tuple[str, ...]:
        out = {name for suspect in suspects for name in suspect.nodes}
        return tuple(name for name in self.bench.candidates if name in out)


def search(bench: Workbench, limits: Limits, monotonic: Callable[[], float]) -> Outcome:
    """Find the quickest honest answer: int8, mixed, or fp32 with the reason."""
    state = _Search(bench, limits, monotonic, monotonic())
    try:
        found = state.find()
    except _Spent:
        found = None
    return _answer(state, found)


def _answer(state: _Search, found: int | None) -> Outcome:
    limits, total = state.limits, len(state.bench.candidates)
    precision: Precision = "fp32"
    measured: Race | None = None
    best: int | None = found
    if found is None:
        best = min(range(len(state.trace)), key=lambda i: state.trace[i].drop_pt, default=None)
        reason = _unrepaired(state, best)
    else:
        chosen = state.trace[found]
        measured = state.bench.race(chosen.excluded, chosen.method)
        left = len(chosen.excluded) + len(chosen.stray)
        out = f", {left} of {total} nodes left in float" if left else ""
        enough = measured.ratio >= limits.min_speedup
        if enough:
            precision = "mixed" if left else "int8"
        reason = (
            f"speed-up {measured} against FP32 {'reaches' if enough else 'below'} "
            f"{limits.min_speedup:g}{out}; drop {state.drops[found]}, "
            f"limit {limits.max_drop_pt:g} pt"
        )
        verdict = "shipped" if enough else "not worth it"
        state.trace[found] = replace(
            chosen, ratio=measured.ratio, outcome=f"{chosen.outcome}; {measured}: {verdict}"
        )
    return Outcome(
        precision=precision,
        reason=reason,
        best=None if best is None else state.trace[best],
        race=measured,
        drop=None if best is None else state.drops[best],
        trace=tuple(state.trace),
        ranking=state.ranking,
        evaluations=state.evaluations,
        cut=state.cut,
    )


def _unrepaired(state: _Search, best: int | None) -> str:
    seconds = state.monotonic() - state.started
    spent = f"{state.evaluations} evaluations in {seconds:.1f} s"
    ended = (
        "every exclusion was tried" if state.cut == "no" else f"the budget of {state.cut} is spent"
    )
    if best is None:
        return f"no INT8 model was measured: {ended} ({spent})"
    near = state.trace[best]
    return (
        f"the drop could not be repaired: best {state.drops[best]} with {len(near.excluded)} "
        f"of {len(state.bench.candidates)} nodes left in float, "
        f"limit {state.limits.max_drop_pt:g} pt; {ended} ({spent})"
    )
