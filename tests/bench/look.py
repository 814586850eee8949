"""`make bench-look`: what one look of the gate costs at a large fleet, on this machine.

The gate judges arrays; a driver makes them of the records that it holds. Both are timed, the second
one because it is the larger part. Writes docs/benchmarks-look.md.
"""

from __future__ import annotations

import resource
import statistics
import time
from pathlib import Path
from typing import Final

from edgefleet.edge.contract import Digest, Evidence
from edgefleet.fleet.design import Design
from edgefleet.fleet.gate import judge, open_gate
from edgefleet.fleet.scores import Sheet, sheet_of
from edgefleet.machine import machine
from edgefleet.spec import Gates
from tests.calibration.plant import FIRST, WANT, WAS, Plant, design_of

PAGE: Final = Path("docs/benchmarks-look.md")
FLEETS: Final = ((200, 10), (1000, 50), (10_000, 500))
PRE: Final = 60
LOOKS: Final = 10
HISTOGRAM: Final = tuple((bucket, 20) for bucket in range(12, 24))


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
        disagreed=node % 3 == 0,
        paired=paired,
        losses=1 if paired and node % 5 == 0 else 0,
    )


def book(design: Design, windows: int) -> dict[str, tuple[Evidence, ...]]:
    """Return the records of a whole fleet."""
    chosen = set(design.canary)
    return {
        member.node: tuple(
            record(FIRST + at, WANT if at >= 0 and member.node in chosen else WAS, number + at)
            for at in range(-PRE, windows)
        )
        for number, member in enumerate(design.nodes)
    }


def timed(nodes: int, canary: int) -> tuple[float, float, float, float]:
    """Return seconds of the draws, of making arrays and of judging them; MB of arrays."""
    design, gates = design_of(Plant(nodes=nodes, canary=canary), 0), Gates()
    begun = time.perf_counter()
    state = open_gate(design, gates)
    drawn = time.perf_counter() - begun
    held = book(design, LOOKS)
    tallied, judged = [], []
    sheet: Sheet | None = None
    for look in range(LOOKS):
        begun = time.perf_counter()
        sheet = sheet_of(design, held, FIRST + look)
        tallied.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        state, _ = judge(state, design, gates, sheet, FIRST + look)
        judged.append(time.perf_counter() - begun)
    assert sheet is not None
    size = sum(
        table.nbytes
        for side in (sheet.before, sheet.after)
        for table in (*side.counts.values(), side.seen, side.histograms)
    )
    return drawn, statistics.median(tallied), statistics.median(judged), size / 1e6


def main() -> None:
    """Measure, and write the page."""
    rows = []
    for nodes, canary in FLEETS:
        drawn, tallied, judged, size = timed(nodes, canary)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        rows.append(
            f"| {nodes:,} | {canary} | {drawn:.2f} s | {1e3 * tallied:.0f} ms | "
            f"{1e3 * judged:.0f} ms | {size:.0f} MB | {peak:.0f} MB |"
        )
    head = [
        "# What a look costs",
        "",
        f"`make bench-look` on {machine()}. Medians of {LOOKS} looks, {PRE} windows of a past.",
        "",
        "| nodes | canary | draws, once | records to arrays | judging | arrays | process, peak |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    tail = [
        "",
        "The peak holds every record as an object, as a driver does; the gate needs the arrays.",
    ]
    PAGE.write_text("\n".join([*head, *rows, *tail]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
