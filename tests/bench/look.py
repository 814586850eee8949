"""`make bench-look`: what one look of the gate costs at a large fleet, on this machine.

Each fleet is measured in a process of its own, which does what a driver does: it enters what the
nodes said since the last look, lets go of it, and judges. Records are decoded from the wire's form.
Times are the process's own, so that neighbours on the machine are not in them. Writes
docs/benchmarks-look.md.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import statistics
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from edgefleet.documents import decode
from edgefleet.edge.contract import Digest, Evidence, Windows
from edgefleet.fleet.cohorts import Member, order
from edgefleet.fleet.design import Design
from edgefleet.fleet.gate import judge, open_gate
from edgefleet.fleet.sheets import Sheets
from edgefleet.machine import machine
from edgefleet.spec import Gates

PAGE: Final = Path("docs/benchmarks-look.md")
FLEETS: Final = ((200, 10), (1000, 50), (10_000, 500))
PRE: Final = 60
LOOKS: Final = Gates().max_windows
FACTORIES: Final = 12
FIRST: Final = 1000
WAS: Final = Digest("sha256:" + "a" * 64)
WANT: Final = Digest("sha256:" + "b" * 64)
COLUMNS: Final = (
    "nodes",
    "canary",
    "windows read",
    "draws, once",
    "records to arrays",
    "judging",
    "a look",
    "imports",
    "peak",
)
HISTOGRAM: Final = tuple((bucket, 20) for bucket in range(12, 24))


class Cost(NamedTuple):
    """What the looks of one fleet cost: medians, seconds of the processor, and megabytes."""

    drawn: float
    entered: float
    judged: float
    imported: float
    """Memory of the process before it does anything, and at its peak."""
    peak: float


def record(window: int, digest: Digest, node: int) -> Evidence:
    """Return a record like those of a busy node."""
    paired = 5 if digest == WANT else 0
    return Evidence(
        window=window,
        digest=digest,
        boot="b",
        ok=240,
        server_errors=node % 2,
        latency=HISTOGRAM,
        wanted=5,
        labelled=5,
        correct=4 + node % 2,
        shadowed=20 + paired,
        disagreed=int(node % 3 == 0),
        paired=paired,
        losses=1 if paired and node % 5 == 0 else 0,
    )


def said(design: Design, windows: Sequence[int]) -> dict[str, tuple[Evidence, ...]]:
    """Return what all nodes say of some windows, as it is when it came over a wire."""
    chosen = set(design.canary)
    return {
        member.node: _over_a_wire(
            tuple(
                record(at, WANT if at >= FIRST and member.node in chosen else WAS, number + at)
                for at in windows
            )
        )
        for number, member in enumerate(design.nodes)
    }


def _over_a_wire(records: tuple[Evidence, ...]) -> tuple[Evidence, ...]:
    body = msgspec.json.encode(Windows(now=0.0, window_s=60.0, records=records))
    return decode(body, Windows).records


def design_of(nodes: int, canary: int) -> Design:
    """Return a design over a fleet of a few factories."""
    members = tuple(Member(f"n{i:05d}", f"f{i % FACTORIES}", f"h{i % 2}") for i in range(nodes))
    return Design(
        nodes=members,
        canary=order(members, "look")[:canary],
        want=WANT,
        was=WAS,
        salt="look",
        first_window=FIRST,
        pre=(FIRST - PRE, FIRST - 1),
    )


def cost(again: int, fleet: tuple[int, int]) -> Cost:
    """Measure; each reading covers the newest window and `again` before it."""
    imported = _peak_mb()
    design, gates = design_of(*fleet), Gates()
    begun = time.process_time()
    state = open_gate(design, gates)
    drawn = time.process_time() - begun
    sheets = Sheets(design)
    for window in range(FIRST - PRE, FIRST):
        sheets.enter(said(design, (window,)), window - 1)
    entered, judged = [], []
    for window in range(FIRST, FIRST + LOOKS):
        after = max(window - again, FIRST - PRE) - 1
        records = said(design, range(after + 1, window + 1))
        begun = time.process_time()
        sheets.enter(records, after)
        entered.append(time.process_time() - begun)
        del records
        begun = time.process_time()
        state, _ = judge(state, design, gates, sheets.until(window), window)
        judged.append(time.process_time() - begun)
    return Cost(drawn, statistics.median(entered), statistics.median(judged), imported, _peak_mb())


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured(again: int) -> list[Cost]:
    """Return each fleet's cost, each from a process of its own."""
    fresh = multiprocessing.get_context("spawn")
    found = []
    for fleet in FLEETS:
        with fresh.Pool(1) as pool:
            found += pool.map(partial(cost, again), [fleet])
    return found


def main() -> None:
    """Measure, and write the page."""
    rows = []
    for again in (0, 5):
        for (nodes, canary), one in zip(FLEETS, measured(again), strict=True):
            look = one.entered + one.judged
            rows.append(
                f"| {nodes:,} | {canary} | {again + 1} | {one.drawn:.2f} s | "
                f"{1e3 * one.entered:.0f} ms | {1e3 * one.judged:.0f} ms | {1e3 * look:.0f} ms | "
                f"{one.imported:.0f} MB | {one.peak:.0f} MB |"
            )
            sys.stdout.write(f"{rows[-1]}\n")
    head = [
        "# What a look costs",
        "",
        f"`make bench-look` on {machine()}. {PRE} windows of a past, then a soak of {LOOKS}",
        "looks. Times are medians, of the processor, in the process that looks; neighbours slow",
        f"them down all the same, by the caches: the machine's load was {os.getloadavg()[1]:.1f}.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"|{'---:|' * len(COLUMNS)}",
    ]
    PAGE.write_text("\n".join([*head, *rows, *TAIL]) + "\n", encoding="utf-8")


TAIL: Final = (
    "",
    "What nodes said is folded into arrays that the driver keeps, and let go of. One window read",
    "is what is new at a look. Six is what a driver asks for: the five before are read again, as",
    "labels come late, and replace what was known of them. Every tenth window a driver asks for",
    "all windows since the change, which is not in this table.",
    "",
    "Memory is the largest that the process had: with the gate's imports (first column of the",
    "two, no Prefect) before it did anything, and at its peak, with one reading's records. A",
    "driver also has Prefect and all flows imported. It holds more at once where records are read",
    "whole: the past before the first look, the plan's A/A replay, and the verdict's page.",
)


if __name__ == "__main__":
    main()
