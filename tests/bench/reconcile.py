"""`make bench-reconcile`: a day of a flapping fleet, with reconcile every five minutes.

Nodes flap all day; some are made anew, some are changed by hand, two versions are released. Says
where every node ends, that none was changed twice for one release, and what reconcile asked of the
factories. Writes docs/benchmarks-reconcile.md; fails when a node ends without a reason.
"""

from __future__ import annotations

import os
import platform
import random
import resource
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import yaml

from edgefleet.adapters.memory.faults import parse_fault
from edgefleet.adapters.memory.kill import watched
from edgefleet.cli.own_prefect import own_prefect
from edgefleet.fleet.inventory import Change
from edgefleet.fleet.reconcile import Behind
from edgefleet.fleet.release import Phase
from edgefleet.machine import cpu
from edgefleet.ports import Image
from edgefleet.rehearsal import Stage, stage
from edgefleet.spec import Spec, parse_spec
from edgefleet.wiring import installed

PAGE: Final = Path("docs/benchmarks-reconcile.md")
COMMAND: Final = "make bench-reconcile"
SEED: Final = 1
EVERY_S: Final = 300.0
"""Reconcile's schedule. A process starts when it can: by up to a minute later, in here."""

COLUMNS: Final = (
    "nodes",
    "hours",
    "passes",
    "serve the champion",
    "behind, with a reason",
    "neither",
    "brought",
    "made anew",
    "changed by hand",
    "changed twice for a release",
    "wall",
)
ORDERS: Final = ("snapshot", "hold", "apply", "release_hold", "shadow")

SPEC: Final = """
workload: defect-detection
model: defect-classifier
selector: {line: camera}
max_deferred: 0.5
waves: {shares: [0.5, 1.0], windows: 0, at_once_per_factory: 4}
prepull: {nodes_at_once: 8, starts_per_min: 600}
gates:
  min_windows: 2
  pre_windows: 0
  label_rate: 0.5
  shadow_rate: 1.0
  accuracy: {margin_pt: 10}
  latency: {margin_pct: 100}
"""


@dataclass
class Calls:
    """What was asked of the factories, while it counts."""

    made: Counter[str] = field(default_factory=Counter)
    counting: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, when: str, name: str) -> None:
        if self.counting and when == "before":
            with self.lock:
                self.made[name.removeprefix("MemorySite.")] += 1


@dataclass(frozen=True)
class Day:
    """What became of a fleet."""

    nodes: int
    factories: int
    hours: float
    passes: int
    champion: int
    """Nodes that serve it at the end."""
    behind: tuple[Behind, ...]
    unexplained: tuple[str, ...]
    """Nodes that do not serve it and are not among those behind."""
    brought: int
    made_anew: int
    by_hand: int
    phases: tuple[Phase, ...]
    twice: tuple[str, ...]
    """Nodes that went over to one release's package again, without anybody's doing."""
    calls: Counter[str]
    wall_s: float

    @property
    def met(self) -> bool:
        return not self.unexplained and not self.twice and bool(self.brought)


def spec_in(folder: Path) -> Spec:
    """Write the spec where Settings look for it, and return it."""
    spec = parse_spec(SPEC, "the bench")
    folder.mkdir()
    text = yaml.safe_dump(spec.model_dump(mode="json"))
    (folder / f"{spec.workload}.yaml").write_text(text, encoding="utf-8")
    os.environ["EDGEFLEET_SPECS"] = str(folder)
    return spec


def lived(folder: Path, nodes: int, factories: int, hours: float, every_s: float) -> Day:
    """Let a fleet live for some hours; Prefect is up, and the spec's folder in the settings."""
    from flows.reconcile import reconcile  # noqa: PLC0415 - Prefect is configured by now
    from flows.release import release  # noqa: PLC0415 - as above

    begun = time.monotonic()
    draw = random.Random(SEED)  # noqa: S311 - it has to be the same every time
    calls = Calls()
    made = stage(spec_in(folder / "specs"), folder, nodes=nodes, factories=factories, seed=SEED)
    sites = {name: watched(site, calls) for name, site in made.world.sites.items()}
    with installed(replace(made.world, sites=sites)):
        releases = [made.submit(1, hurried=True)]
        release(releases[0])
        made.strike([parse_fault("flapping:30%")])
        end_s = made.fleet.now_s + hours * 3600
        passes = brought = 0
        touched: Counter[str] = Counter()
        events = {"anew": 0, "by hand": 0}
        due_s = [made.fleet.now_s, (made.fleet.now_s + end_s) / 2]
        while made.fleet.now_s < end_s:
            if due_s and made.fleet.now_s >= due_s[0]:
                due_s.pop(0)
                releases.append(made.submit(len(releases) + 1))
                release(releases[-1])
            for what in events:
                if draw.random() < nodes / 100 * every_s / 3600:
                    name = draw.choice(sorted(made.fleet.nodes))
                    if _befallen(made, name, what):
                        events[what] += 1
                        touched[name] += 1
            made.world.clock.sleep(every_s + draw.uniform(0, 60))
            calls.counting = True
            (found,) = reconcile()
            calls.counting = False
            passes += 1
            brought += len(found.brought)
        champion = _package(made, releases, Phase.RELEASED)
        serving = {
            name for name, node in made.fleet.nodes.items() if _served(made, node.name) == champion
        }
        behind = {item.node for item in found.behind}
        return Day(
            nodes,
            factories,
            hours,
            passes,
            len(serving),
            found.behind,
            tuple(sorted(made.fleet.nodes.keys() - serving - behind)),
            brought,
            events["anew"],
            events["by hand"],
            tuple(made.world.ledger.release(one).phase for one in releases),
            _twice(made, touched),
            calls.made,
            time.monotonic() - begun,
        )


def _befallen(made: Stage, name: str, what: str) -> bool:
    """Wipe a node, or let somebody give it what it had before; say whether that could be done."""
    node, workload = made.fleet.nodes[name], made.spec.workload
    if what == "anew":
        node.jobs.clear()
        node.pulls.clear()
        return True
    job = node.job(workload)
    if job.previous in {None, job.serving} or job.ordered != job.serving:
        return False
    node.order(
        Change(workload, name, node.factory, job.previous, job.ordered, job.epoch),
        made.fleet.now_s,
    )
    return True


def _package(made: Stage, releases: list[str], phase: Phase) -> str:
    from tasks.records import needed  # noqa: PLC0415 - as above

    ended = [one for one in releases if made.world.ledger.release(one).phase is phase]
    return needed(ended[-1], "package", 0, Image).digest


def _served(made: Stage, name: str) -> str | None:
    """Return what a node serves, by its own state: also where its link is cut."""
    made.fleet.transitions()  # settles what should have happened by now
    return made.fleet.nodes[name].job(made.spec.workload).serving


def _twice(made: Stage, touched: Counter[str]) -> tuple[str, ...]:
    times = Counter((moved.node, moved.after) for moved in made.fleet.transitions())
    return tuple(sorted({name for (name, _), count in times.items() if count > 1 + touched[name]}))


def main() -> int:
    rows = []
    for nodes, factories, hours in ((100, 6, 24.0), (1000, 12, 24.0)):
        with tempfile.TemporaryDirectory() as folder, own_prefect():
            rows.append(lived(Path(folder), nodes, factories, hours, EVERY_S))
    text = page(rows)
    PAGE.write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    return 0 if all(row.met for row in rows) else 1


def page(rows: list[Day]) -> str:
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    lines = [
        "# Reconcile, measured",
        "",
        (
            f"`{COMMAND}` on {os.cpu_count()} cores of {cpu()}, {platform.system()}, Python "
            f"{platform.python_version()}; other work ran beside it to a load of "
            f"{os.getloadavg()[2]:.1f} (over 15 minutes); peak memory {peak_mb:.0f} MB."
        ),
        "",
        (
            "A fleet in memory with a clock of its own, and the real flows on a Prefect server. "
            "30 % of the nodes flap: half a minute away, half a minute back, all day. Two versions "
            "are released into that, at its beginning and in its middle. Each hour one node in a "
            "hundred is made anew and one is changed by hand. Reconcile comes every five minutes, "
            "and up to a minute late. What a node serves is its own state, also while its link is "
            "cut; behind are those that the last look did not see serve it: a node may be both."
        ),
        "",
        _head(COLUMNS),
        *(_row(row) for row in rows),
        "",
        (
            "What reconcile asked of the factories, per node and hour. A look (`snapshot`) shows "
            "all nodes of a factory at once; on Kubernetes it reads a watch's cache and asks the "
            "API server nothing."
        ),
        "",
        _head(("nodes", "looks, per factory and hour", *ORDERS, "all")),
        *(_calls(row) for row in rows),
        "",
        *(_reasons(row) for row in rows),
    ]
    return "\n".join(lines) + "\n"


def _head(columns: tuple[str, ...]) -> str:
    return f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}"


def _row(row: Day) -> str:
    cells = [
        f"{row.nodes:,}",
        f"{row.hours:g}",
        row.passes,
        row.champion,
        len(row.behind),
        len(row.unexplained),
        row.brought,
        row.made_anew,
        row.by_hand,
        len(row.twice),
        f"{row.wall_s:.0f} s",
    ]
    return f"| {' | '.join(map(str, cells))} |"


def _calls(row: Day) -> str:
    per = row.nodes * row.hours
    each = [row.calls[name] / per for name in ORDERS]
    looks = row.calls["snapshot"] / row.factories / row.hours
    cells = [f"{looks:.0f}", *(f"{rate:.4f}" for rate in (*each, sum(each)))]
    return f"| {row.nodes:,} | {' | '.join(cells)} |"


def _reasons(row: Day) -> str:
    kinds = Counter(f"{item.kind}: {item.reason}" for item in row.behind)
    told = "; ".join(f"{count} {why}" for why, count in kinds.most_common(5)) or "none"
    ends = ", ".join(phase.value for phase in row.phases)
    return f"- {row.nodes:,} nodes: releases ended {ends}; behind at the end: {told}."


if __name__ == "__main__":
    sys.exit(main())
