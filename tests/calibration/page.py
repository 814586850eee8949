"""docs/calibration.md: what came out of the simulations, beside what was promised; and pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from scipy.stats import beta

from edgefleet.fleet.finding import Outcome
from tests.calibration.cells import ALONE, SAID, Cell, Kind, cells
from tests.calibration.reference import REFERENCE
from tests.calibration.runs import Ended

Found = Mapping[tuple[str, str], Sequence[Ended]]
"""Runs by the cell's name and the judge."""

OURS: Final = "edgefleet"
PROMISED: Final = {"equal": 0.01, "margin": 0.05}
"""Largest share of false alarms, and of false passes."""
WRONG: Final = {"equal": Outcome.FAIL, "margin": Outcome.PASS}
PAGE: Final = Path("docs/calibration.md")
RATES: Final = Path("docs/pictures/calibration-rates.svg")
SPEED: Final = Path("docs/pictures/calibration-speed.svg")
_INTRO: Final = """\
# Calibration of the gate

`make calibration` wrote this page from {runs:,} simulated soaks ({machine}). The gate is the
product's own. A soak has 200 nodes in 12 factories, 60 looks and 60 windows of a past, and ends at
the first look that decides. Rates have exact 95 % intervals. The worlds' parameters are invented:
medians move with them.

{worlds}

`pairs`: old and new model answer the same labelled requests on the canary; `labels`: each node's
own model is labelled. 10 canary nodes with 5 labels a window each where nothing else is said;
margins 2 pt, 15 % of latency, 0.3 pt of errors.

![Error rates and their promises]({rates})

![Share decided by each look]({speed})

## False alarms: the new model is as good as the old one

Promised: at most 1 % FAIL. {held}

| world | runs | FAIL | PASS | median window of a PASS | PASS within 30 |
|---|---:|---:|---:|---:|---:|
{equal}

## False passes: the new model is worse by exactly a margin

Promised: at most 5 % PASS. A FAIL is no error here: the model is worse.

| world and metric | runs | PASS | FAIL |
|---|---:|---:|---:|
{margin}

## Times to decide

| the new model | runs | FAIL | median window | PASS | median window |
|---|---:|---:|---:|---:|---:|
{power}
"""
_TESTS: Final = """
## Beside one test alone

What the method found as one test of one metric, with 0.5 % of false alarms for it and nothing
beside it (figures of its design, by a numpy reference in the same world). The whole gate shares its
budget with latency, errors and silence where accuracy has no pairs, and passes when every metric
does; `accuracy alone` is the gate without latency and errors. Share of the soaks that ended so, and
their median window.

| the new model | ended | one test | accuracy alone | the whole gate |
|---|---|---:|---:|---:|
{rows}
"""
_PEERS: Final = """
## The same soaks, judged as others do

`thresholds`: a limit for accuracy, p99 and errors; three windows in a row beyond one of them send
the model back (in the manner of Argo Rollouts and Flagger). `Mann-Whitney`: windows of canary and
controls, every five windows, at 98 % (in Kayenta's manner). Both are told what is usual in the
plant, and what they do not send back passes at the end. Share of the soaks that were sent back:

| the new model | {judges} |
|---|{rules}
{rows}
"""


class Share(NamedTuple):
    """How often something happened."""

    hits: int
    n: int

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Return the exact binomial interval (Clopper and Pearson 1934)."""
        tail = (1 - confidence) / 2
        low = float(beta.ppf(tail, self.hits, self.n - self.hits + 1)) if self.hits else 0.0
        high = (
            float(beta.ppf(1 - tail, self.hits + 1, self.n - self.hits))
            if self.hits < self.n
            else 1.0
        )
        return low, high

    def lower_bound(self, confidence: float = 0.99) -> float:
        """Return the exact one-sided lower bound."""
        return (
            float(beta.ppf(1 - confidence, self.hits, self.n - self.hits + 1)) if self.hits else 0.0
        )

    @property
    def percent(self) -> float:
        """Return how often, of a hundred."""
        return 100 * self.hits / self.n

    @property
    def said(self) -> str:
        """Return `0.40 % [0.17, 0.79]`."""
        low, high = self.interval()
        return f"{self.percent:.2f} % [{100 * low:.2f}, {100 * high:.2f}]"


def share(runs: Sequence[Ended], outcome: Outcome) -> Share:
    """Return how often soaks ended so."""
    return Share(sum(ended.outcome is outcome for ended in runs), len(runs))


def broken(cell: Cell, runs: Sequence[Ended]) -> bool:
    """Say whether a promise is broken: its error rate is proven, at 99 %, to be larger."""
    if cell.kind == "power":
        return False
    return share(runs, WRONG[cell.kind]).lower_bound() > PROMISED[cell.kind]


def page(found: Found, machine: str) -> str:
    """Return the page."""
    known: tuple[Kind, ...] = ("equal", "margin")
    bad = [c.name for kind in known for c in of_kind(kind, found) if broken(c, found[c.name, OURS])]
    held = "In all of them and of those below no rate is shown, at 99 %, to be above its promise."
    return _INTRO.format(
        runs=sum(len(ended) for ended in found.values()),
        machine=machine,
        worlds="\n".join(f"- **{world}**: {said}." for world, said in SAID.items()),
        rates=RATES.relative_to("docs"),
        speed=SPEED.relative_to("docs"),
        held=f"**Broken in: {'; '.join(bad)}.**" if bad else held,
        equal=_rows("equal", found, _equal_row),
        margin=_rows("margin", found, _margin_row),
        power=_rows("power", found, _power_row),
    ) + (_tests(found) + _peers(found))


def of_kind(kind: Kind, found: Found) -> list[Cell]:
    """Return the cells of a kind that were simulated, but for those of one test alone."""
    told = [cell for cell in cells() if cell.kind == kind and not cell.alone]
    return [cell for cell in told if (cell.name, OURS) in found]


def _median(runs: Sequence[Ended], outcome: Outcome) -> str:
    looks = [ended.look for ended in runs if ended.outcome is outcome]
    return f"{median(looks):.0f}" if looks else "-"


def _equal_row(cell: Cell, runs: Sequence[Ended]) -> str:
    early = Share(sum(e.outcome is Outcome.PASS and e.look <= 30 for e in runs), len(runs))
    cells_ = (
        cell.name,
        f"{len(runs)}",
        share(runs, Outcome.FAIL).said,
        share(runs, Outcome.PASS).said,
        _median(runs, Outcome.PASS),
        f"{early.percent:.0f} %",
    )
    return f"| {' | '.join(cells_)} |"


def _margin_row(cell: Cell, runs: Sequence[Ended]) -> str:
    passed, failed = share(runs, Outcome.PASS), share(runs, Outcome.FAIL)
    return f"| {cell.name} | {len(runs)} | {passed.said} | {failed.percent:.0f} % |"


def _power_row(cell: Cell, runs: Sequence[Ended]) -> str:
    failed, passed = share(runs, Outcome.FAIL), share(runs, Outcome.PASS)
    return (
        f"| {cell.name} | {len(runs)} | {failed.said} | {_median(runs, Outcome.FAIL)} | "
        f"{passed.said} | {_median(runs, Outcome.PASS)} |"
    )


def _rows(kind: Kind, found: Found, row: Callable[[Cell, Sequence[Ended]], str]) -> str:
    return "\n".join(row(cell, found[cell.name, OURS]) for cell in of_kind(kind, found))


def _tests(found: Found) -> str:
    rows = []
    for name, single in REFERENCE.items():
        ours = [_ended(found.get((of, OURS)), single.outcome) for of in (name + ALONE, name)]
        cells_ = (name, single.outcome.value.upper(), f"{single.percent:g} %, {single.window}")
        rows.append(f"| {' | '.join((*cells_, *ours))} |")
    return _TESTS.format(rows="\n".join(rows))


def _ended(runs: Sequence[Ended] | None, outcome: Outcome) -> str:
    if not runs:
        return "-"
    return f"{share(runs, outcome).percent:.1f} %, {_median(runs, outcome)}"


def _peers(found: Found) -> str:
    judges = (OURS, *sorted({judge for _, judge in found} - {OURS}))
    told = [c for c in cells() if len(judges) > 1 and all((c.name, j) in found for j in judges)]
    if not told:
        return ""
    rows = []
    for cell in told:
        sent = [share(found[cell.name, judge], Outcome.FAIL) for judge in judges]
        shown = " | ".join(f"{one.percent:.1f} %" for one in sent)
        rows.append(f"| {_kind(cell)}{cell.name} | {shown} |")
    rules = "---:|" * len(judges)
    return _PEERS.format(judges=" | ".join(judges), rules=rules, rows="\n".join(rows))


def _kind(cell: Cell) -> str:
    return {"equal": "as good: ", "margin": "at the margin: ", "power": ""}[cell.kind]
