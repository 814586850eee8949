"""docs/guard-calibration.md: how often the guard alarms falsely, how soon it finds a loss."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing import Pool
from pathlib import Path
from typing import Final

import numpy as np
from scipy.stats import chi2

from edgefleet.fleet.alarms import Cause
from tests.calibration.cells import SAID, WORLDS
from tests.calibration.plant import Plant
from tests.calibration.vigil import LEARN, WATCHES, Seen, Vigil, Where, vigils

PAGE: Final = Path("docs/guard-calibration.md")
FLEETS: Final = 10
"""Simulated fleets of each world."""
STATED_DAYS: Final = 1.0
"""In the table of false alarms; the default, 90 days, would show none in any affordable time."""
_DAY: Final = 1440
_FIRST: Final = "disagreements labelled first"

Found = Mapping[tuple[str, Vigil], Sequence[Seen]]
"""By world."""

_TEXT: Final = """\
# Calibration of the guard

`make calibration` wrote this page ({machine}; `ARGS=--guard`
for this page alone). The guard is the product's own, over {fleets} simulated fleets of each world:
200 nodes in 12 factories, windows of a minute, 5 labels and 500 requests in each of a node's, a
fifth of the nodes away at any time. The model before answers 2 % of the requests again; labels come
at random where nothing else is said. The first {learn:,} windows teach what is usual. The worlds
are those of [the gate's calibration](calibration.md), without the change of lighting there; their
parameters are invented: times move with them. The same seeds draw every world: most have the same
errors. The guard's constants were chosen on fleets of the first seven seeds, which are among them.

{worlds}

## False alarms

Nothing gets worse. Stated: {stated:,.0f} windows between false alarms, of all {streams} streams
together, which is `guard.false_alarm_days: {days:g}`; by default it is 90. After an alarm somebody
takes note of it, and it goes on. Exact 95 % intervals. {held}

| world | windows watched | false alarms | windows between them |
|---|---:|---:|---:|
{quiet}

## Times to detect

Five points of accuracy are lost at once, with the default of 90 days between false alarms. Windows
from the loss to an alarm at that very place; those in which it was not found within the time that
was watched count as longer. Then: how often model or surroundings were named as the cause, and the
median window by which.

| lost | at | world | vigils | found | median | 90 % | model | surroundings | by |
|---|---|---|---:|---:|---:|---:|---:|---:|---:|
{found}

Watched for {watched} windows after the loss, at most until the cause is named.
"""


@dataclass(frozen=True, slots=True)
class Between:
    """Windows between false alarms."""

    alarms: int
    windows: int

    def interval(self) -> tuple[float, float]:
        """Return the exact 95 % interval of the mean (Poisson); infinite without an alarm."""
        low = 2 * self.windows / chi2.ppf(0.975, 2 * self.alarms + 2)
        high = 2 * self.windows / chi2.ppf(0.025, 2 * self.alarms) if self.alarms else np.inf
        return float(low), float(high)

    def broken(self, stated: float) -> bool:
        """Say whether the mean is proven, at 99 %, to be less than what is stated."""
        return (
            bool(2 * self.windows / chi2.ppf(0.01, 2 * self.alarms) < stated)
            if self.alarms
            else False
        )

    @property
    def said(self) -> str:
        """Return `4,320 [1,600, 12,000]`."""
        low, high = self.interval()
        mean = f"{self.windows / self.alarms:,.0f}" if self.alarms else "none came"
        return f"{mean} [{low:,.0f}, {'-' if high == np.inf else f'{high:,.0f}'}]"


def worlds() -> dict[str, Plant]:
    """Return the plants; lighting would be a loss, and is not one of the model."""
    known = {
        name: replace(plant, lighting=0.0) for name, plant in WORLDS.items() if name != "missing"
    }
    return {**known, _FIRST: replace(known["usual"], labels_first=True)}


def kinds_of(world: str, plant: Plant) -> tuple[Vigil, ...]:
    """Return the vigils over each fleet of a world."""
    quiet = Vigil(plant, false_alarm_days=STATED_DAYS)
    if world not in {"usual", _FIRST}:
        return (quiet,)
    places: tuple[Where, ...] = ("node", "factory", "fleet")
    return (
        quiet,
        *(Vigil(plant, place, 0.05) for place in places),
        *(Vigil(plant, place, 0.05, alike=True) for place in places[1:]),
    )


def simulated(fleets: int) -> Found:
    """Return how all vigils ended."""
    work = [
        (world, kinds_of(world, plant), seed)
        for seed in range(fleets)
        for world, plant in worlds().items()
    ]
    found: dict[tuple[str, Vigil], list[Seen]] = {}
    with Pool(os.cpu_count()) as pool:
        for (world, kinds, _), ended in zip(work, pool.imap(_ended, work), strict=True):
            for kind, seen in zip(kinds, ended, strict=True):
                found.setdefault((world, kind), []).append(seen)
    return found


def page(found: Found, machine: str) -> str:
    """Return the page."""
    quiet = {world: _between(seen) for (world, kind), seen in found.items() if not kind.drop}
    bad = [world for world, between in quiet.items() if between.broken(STATED_DAYS * _DAY)]
    lost = [(world, kind, seen) for (world, kind), seen in found.items() if kind.drop]
    return _TEXT.format(
        machine=machine,
        fleets=max(map(len, found.values())),
        learn=LEARN,
        worlds="\n".join(f"- **{world}**: {SAID[world]}." for world in quiet if world in SAID),
        stated=STATED_DAYS * _DAY,
        days=STATED_DAYS,
        streams=3 * (200 + 12 + 1),
        held=f"**Broken in: {', '.join(bad)}.**" if bad else "No mean is shown to be shorter.",
        quiet="\n".join(
            f"| {world} | {between.windows:,} | {between.alarms} | {between.said} |"
            for world, between in quiet.items()
        ),
        found="\n".join(_row(*each) for each in sorted(lost, key=_order)),
        watched=", ".join(f"{n:,} ({at})" for at, n in WATCHES.items() if at != "nowhere"),
    )


def _ended(work: tuple[str, tuple[Vigil, ...], int]) -> list[Seen]:
    return vigils(work[1], work[2])


def _between(seen: Sequence[Seen]) -> Between:
    return Between(sum(s.alarms for s in seen), sum(s.windows for s in seen))


def _order(each: tuple[str, Vigil, Sequence[Seen]]) -> tuple[bool, str, str]:
    return each[1].alike, each[1].where, each[0]


def _row(world: str, kind: Vigil, seen: Sequence[Seen]) -> str:
    who = "old and new alike" if kind.alike else "the new model"
    found = sum(s.found is not None for s in seen)
    model, around = (sum(s.cause is c for s in seen) for c in (Cause.MODEL, Cause.SURROUNDINGS))
    return (
        f"| {who} | {kind.where} | {world} | {len(seen)} | {found} | "
        f"{_quantile([s.found for s in seen], 0.5)} | {_quantile([s.found for s in seen], 0.9)} | "
        f"{model} | {around} | {_quantile([s.named for s in seen], 0.5)} |"
    )


def _quantile(times: Sequence[int | None], q: float) -> str:
    """Return the time by which a share had come; those that never came are the longest."""
    ordered = sorted(np.inf if time is None else time for time in times)
    at = ordered[min(int(np.ceil(q * len(ordered))) - 1, len(ordered) - 1)]
    return "later" if at == np.inf else f"{at:.0f}"
