"""How long bringing a package takes in each factory, by its limits and by what was measured. Pure.

A pull takes a start from the factory's bucket, which saves up one: two starts are never closer than
its interval. The first copy crosses the WAN alone, and the others wait for it. What a WAN carries
is known only from an earlier pull over it; before that, the limits alone say the earliest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from edgefleet.fleet.inventory import PullSource
from edgefleet.fleet.plan import Plan
from edgefleet.fleet.stage import Fate, NodeReport, StageReport, of_fate
from edgefleet.spec import Prepull

_COMPARABLE: Final = 0.1
"""Least share of a package's bytes whose time says how quick all of them are."""


@dataclass(frozen=True, slots=True)
class Speed:
    """How quick a factory's pulls of an earlier release were."""

    release_id: str
    wan: float
    """Bytes a second over the WAN: of the pulls that crossed it, one after the other."""
    within: float | None
    """Bytes a second of a node that pulls from within, their median; None: none did."""


@dataclass(frozen=True, slots=True)
class Bringing:
    """What is expected of one factory."""

    factory: str
    nodes: int
    last_s: float
    """Seconds after which its last node begins at the earliest; without `wan_s`, by the limits
    alone."""
    done_s: float
    """Seconds after which its last node has the package at the earliest, likewise."""
    wan_s: float | None = None
    """Seconds over its WAN, as quick as it was then; None: nothing has been measured yet."""
    measured_in: str = ""
    """The release whose pulls say so; empty: none."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is expected of a plan's pre-pull."""

    pace: Prepull
    factories: tuple[Bringing, ...]
    """By name."""

    @property
    def late(self) -> tuple[str, ...]:
        """Factories with a node that is not there within `timeout_s`, which begins with all."""
        most = self.pace.timeout_s
        return tuple(f.factory for f in self.factories if f.done_s > most)


def forecast(made: Plan, pace: Prepull, speeds: dict[str, Speed]) -> Forecast:
    """Return what to expect in each factory of a plan; `speeds` by factory, where they are known.

    A node that has the package already takes no start: then it is sooner.
    """
    found = []
    for factory, nodes in sorted(made.nodes_of.items()):
        speed = speeds.get(factory)
        wan_s = made.model_bytes / speed.wan if speed else None
        each_s = made.model_bytes / speed.within if speed and speed.within else 0.0
        last_s = last_start_s(len(nodes), pace, wan_s or 0.0, each_s)
        done_s = last_s + each_s if len(nodes) > 1 else wan_s or 0.0
        measured_in = speed.release_id if speed else ""
        found.append(Bringing(factory, len(nodes), last_s, done_s, wan_s, measured_in))
    return Forecast(pace, tuple(found))


def last_start_s(nodes: int, pace: Prepull, wan_s: float = 0.0, each_s: float = 0.0) -> float:
    """Return the seconds from the first of `nodes` pulls to the start of the last one, at least.

    `wan_s` is how long the first takes, `each_s` any other: 0 where it is not known, so that the
    limits alone count. The second start waits for the first pull and for the bucket, which holds
    one start however long that takes. Then `nodes_at_once` begin an interval apart, and as many
    again when the first of them is done, or when the bucket lets them.
    """
    interval_s = 60 / pace.starts_per_min
    if nodes <= 1:
        return 0.0
    rounds, rest = divmod(nodes - 2, pace.nodes_at_once)
    round_s = max(each_s, pace.nodes_at_once * interval_s)
    return max(wan_s, interval_s) + rounds * round_s + rest * interval_s


def speeds_of(
    pulls: Iterable[tuple[str, Sequence[StageReport]]], model_bytes: int
) -> dict[str, Speed]:
    """Return each factory's newest known speed, from (release, its pre-pull), the newest first.

    A release in which nothing crossed a factory's WAN, or nobody timed it, says nothing of it; nor
    does one that brought less than a tenth of `model_bytes`, whose time was not that of its bytes.
    """
    least = _COMPARABLE * model_bytes
    found: dict[str, Speed] = {}
    for release_id, reports in pulls:
        for report in reports:
            over = [n for n in _timed(report, PullSource.WAN) if n.transferred_bytes >= least]
            if over and report.factory not in found:
                wan = sum(n.transferred_bytes for n in over) / sum(n.seconds for n in over)
                inside = _timed(report, PullSource.MIRROR)
                within = median(n.transferred_bytes / n.seconds for n in inside) if inside else None
                found[report.factory] = Speed(release_id, wan, within)
    return found


def _timed(report: StageReport, source: PullSource) -> list[NodeReport]:
    """Return the nodes that brought bytes from there, and took a time that can be told."""
    done = of_fate(report.nodes, Fate.DONE)
    return [n for n in done if n.source == source and n.transferred_bytes > 0 and n.seconds > 0]
