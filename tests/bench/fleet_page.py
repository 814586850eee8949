"""What `make bench-fleet` found, in words and tables: docs/benchmarks.md."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from edgefleet.machine import machine

COMMAND: Final = "make bench-fleet"
MOST_CALLS: Final = 6.0
MOST_MB: Final = 500.0
MOST_CPU_S: Final = 60.0
MOST_RATIO: Final = 1.3


class Fleet(msgspec.Struct, frozen=True):
    """Processor seconds of what stands around the driver."""

    control_s: float
    """API servers, their etcd, controllers and schedulers."""
    played_s: float
    """What plays nodes and pods, and answers for them."""


class Loop(msgspec.Struct, frozen=True):
    """The same writes without anything around them."""

    pull_s: float
    change_s: float
    let_go_s: float
    cpu_s: float
    calls: dict[str, int]
    fleet: Fleet


class Row(msgspec.Struct, frozen=True):
    """One fleet's second release."""

    release_id: str
    nodes: int
    factories: int
    up_s: float
    prepare_s: float
    pull_s: float
    canary_s: float
    soak_s: float
    waves_s: float
    looks_s: float
    let_go_s: float
    cpu_s: float
    peak_mb: float
    calls: dict[str, int]
    fleet: Fleet
    loop: Loop

    @property
    def wall_s(self) -> float:
        watched_s = self.soak_s + self.looks_s
        return self.prepare_s + self.pull_s + watched_s + self.changes_s

    @property
    def changes_s(self) -> float:
        """What is compared with the loop, beyond the pull."""
        return self.canary_s + self.waves_s + self.let_go_s

    @property
    def calls_per_node(self) -> float:
        return sum(self.calls.values()) / self.nodes

    @property
    def ratio(self) -> float:
        return self.changes_s / (self.loop.change_s + self.loop.let_go_s)

    @property
    def ratio_with_pull(self) -> float:
        loop_s = self.loop.pull_s + self.loop.change_s + self.loop.let_go_s
        return (self.pull_s + self.changes_s) / loop_s


def page(rows: Sequence[Row]) -> str:
    """Return the page."""
    lines = [
        "# A release over a fleet, measured",
        "",
        (
            f"`{COMMAND}` on {machine()}, {platform.system()}. Everything shares these processors: "
            "the driver, Prefect's server, a whole control plane for each factory (etcd, API "
            "server, controllers, scheduler), and what plays the nodes. Other work ran beside it "
            f"to a load of {os.getloadavg()[2]:.1f} (over 15 minutes, this included)."
        ),
        "",
        (
            "Nodes and pods are played by kwok: no image is moved and no kubelet runs; a pod takes "
            "0.3 to 1.5 s from its start to Ready. API servers, the flow, the ledger (SQLite), "
            "Prefect, admission policies and the account's rights are real. Each fleet has a first "
            "release; what is measured is the second, which replaces the first one's package on "
            "every node: pre-pull, canary of 5 %, soak in windows of 2 s, two waves with one "
            "window of evidence each, holdback of 10 %. Nothing is paced: all nodes of a step are "
            "ordered at once."
        ),
        "",
        "## Targets",
        "",
        *_table(
            rows,
            {
                "calls a node": lambda r: _met(f"{r.calls_per_node:.2f}", r.calls_per_node, 6),
                "driver's CPU": lambda r: _met(f"{r.cpu_s:.1f} s", r.cpu_s, MOST_CPU_S),
                "driver's peak memory": lambda r: _met(f"{r.peak_mb:.0f} MB", r.peak_mb, MOST_MB),
                "wall against the bare loop": lambda r: _met(f"{r.ratio:.2f}x", r.ratio, 1.3),
                "the same with pulls": lambda r: f"{r.ratio_with_pull:.2f}x",
            },
        ),
        "",
        (
            f"Targets: at most {MOST_CALLS:g} calls to API servers for a node and a release, "
            f"{MOST_CPU_S:g} s of CPU and {MOST_MB:g} MB for the driver, and {MOST_RATIO:g} times "
            "the wall time of a bare loop beyond soak and pull. Calls are all that the driver's "
            "connections made, lists, watches and tries again included. CPU is that of the "
            "driver's process over the second release; memory is its peak since it began, with the "
            "first release and qualification."
        ),
        "",
        (
            "The bare loop then brings a third package to the same nodes in the same steps: apply "
            "a Job that holds the package on each node (one node of a factory first), apply its "
            "Deployment wave by wave, delete the Job; a thread for each factory, as many nodes at "
            "once, one watch of pods for each API server, and the next step when all factories "
            "have ended the one before. It has no Prefect, no ledger and no evidence, and believes "
            "a pod that is Ready without asking it what it serves. Compared are canary, waves and "
            "letting go, from the ledger's entry that begins them to the one that ends them; "
            "qualification, plan, approval, soak and the looks after waves are left out, as the "
            "loop has nothing like them. Release and loop alike wait for control planes that share "
            "few processors (see whose CPU it is): on machines of their own these would answer "
            "sooner, and what the driver adds would show more."
        ),
        "",
        "## Where the time goes",
        "",
        *_table(
            rows,
            {
                "qualify, plan, approve": lambda r: f"{r.prepare_s:.1f} s",
                "pull": lambda r: _beside(r.pull_s, r.loop.pull_s),
                "canary": lambda r: f"{r.canary_s:.1f} s",
                "soak": lambda r: f"{r.soak_s:.1f} s",
                "waves": lambda r: f"{r.waves_s:.1f} s",
                "looks after waves": lambda r: f"{r.looks_s:.1f} s",
                "let go": lambda r: _beside(r.let_go_s, r.loop.let_go_s),
                "canary and waves": lambda r: _beside(r.canary_s + r.waves_s, r.loop.change_s),
                "all": lambda r: f"{r.wall_s:.1f} s",
            },
        ),
        "",
        "In brackets: the bare loop.",
        "",
        "## Whose CPU it is",
        "",
        *_table(
            rows,
            {
                "driver": lambda r: _beside(r.cpu_s, r.loop.cpu_s),
                "control planes": lambda r: _beside(r.fleet.control_s, r.loop.fleet.control_s),
                "played nodes": lambda r: _beside(r.fleet.played_s, r.loop.fleet.played_s),
            },
        ),
        "",
        "## Calls",
        "",
        *_calls(rows),
    ]
    return "\n".join(lines) + "\n"


def _table(rows: Sequence[Row], columns: Mapping[str, Callable[[Row], str]]) -> list[str]:
    lines = [
        f"| nodes | factories | {' | '.join(columns)} |",
        "|---" * (len(columns) + 2) + "|",
    ]
    for row in rows:
        cells = " | ".join(cell(row) for cell in columns.values())
        lines.append(f"| {row.nodes:,} | {row.factories} | {cells} |")
    return lines


def _met(said: str, found: float, most: float) -> str:
    return f"{said}: {'met' if found <= most else 'missed'}"


def _beside(release_s: float, loop_s: float) -> str:
    return f"{release_s:.1f} s ({loop_s:.1f} s)"


def _calls(rows: Sequence[Row]) -> list[str]:
    lines = [
        f"| call | {' | '.join(f'{row.nodes:,} nodes' for row in rows)} |",
        "|---" * (len(rows) + 1) + "|",
    ]
    lines += [_line(kind, [row.calls for row in rows]) for kind in _kinds(r.calls for r in rows)]
    loops = [row.loop.calls for row in rows]
    return lines + [_line(kind, loops, "bare loop: ") for kind in _kinds(loops)]


def _kinds(counted: Iterable[Mapping[str, int]]) -> list[str]:
    return sorted({kind for calls in counted for kind in calls})


def _line(kind: str, counted: Iterable[Mapping[str, int]], begin: str = "") -> str:
    return f"| {begin}{kind} | {' | '.join(str(calls.get(kind, 0)) for calls in counted)} |"
