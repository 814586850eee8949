"""`make bench-rehearse`: what a rehearsal costs, in seconds and memory, on this machine.

Runs `edgefleet rehearse` on a small and a large fleet, each in a process of its own, with a tenth
of the nodes at fault. Counts Prefect's start in. Writes docs/benchmarks-rehearse.md; fails when the
large fleet misses its target.
"""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from edgefleet.machine import cpu

SPEC: Final = "deployments/specs/defect-detection.yaml"
FAULT: Final = "mixed:10%"
SEED: Final = "1"
FLEETS: Final[tuple[tuple[int, int], ...]] = ((100, 6), (1000, 12))
PAGE: Final = Path("docs/benchmarks-rehearse.md")
COMMAND: Final = "make bench-rehearse"
MAX_S: Final = 60.0
MAX_MB: Final = 500.0
MIN_LOOKS: Final = 10


class Ended(msgspec.Struct):
    """What is read of a release."""

    phase: str
    reason: str


class Rehearsed(msgspec.Struct):
    """What is read of the command's answer."""

    release: Ended
    looks: int
    simulated_s: float


@dataclass(frozen=True)
class Row:
    nodes: int
    factories: int
    found: Rehearsed
    wall_s: float
    cpu_s: float
    peak_mb: float
    """Of the rehearsal's own process; Prefect's server is another one, of about 250 MB."""

    @property
    def met(self) -> bool:
        quick = self.wall_s < MAX_S and self.peak_mb < MAX_MB
        return quick and self.found.looks >= MIN_LOOKS and self.found.release.phase == "released"


def main() -> int:
    rows = [run(nodes, factories) for nodes, factories in FLEETS]
    text = page(rows)
    PAGE.write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    return 0 if all(row.met for row in rows) else 1


def run(nodes: int, factories: int) -> Row:
    command = [sys.executable, "-m", "edgefleet.cli", "rehearse", SPEC, "--json", "--seed", SEED]
    command += ["--nodes", str(nodes), "--factories", str(factories), "--fault", FAULT]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.monotonic()
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE)
    wall_s = time.monotonic() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found = msgspec.json.decode(done.stdout, type=Rehearsed)
    # The peak is that of all children so far: fleets are run in ascending order.
    return Row(nodes, factories, found, wall_s, cpu_s, after.ru_maxrss / 1024)


def page(rows: list[Row]) -> str:
    lines = [
        "# Rehearsals, measured",
        "",
        (
            f"`{COMMAND}` on {os.cpu_count()} cores of {cpu()}, {platform.system()}, Python "
            f"{platform.python_version()}; other work ran beside it to a load of "
            f"{os.getloadavg()[2]:.1f} (over 15 minutes)."
        ),
        "",
        (
            "Each row is `edgefleet rehearse` in a process of its own, from its start to its end: "
            f"Prefect's server comes up on an empty database, a first champion is released, then "
            f"a second version with faults `{FAULT}` (offline, slow, disk full, wrong digest, "
            "self-check failed, flapping, dealt out in turn). CPU and memory are those of the "
            "rehearsal's own process; Prefect's server is a second one, of about 250 MB."
        ),
        "",
        "| nodes | factories | end | looks | wall | CPU | peak memory | simulated | target |",
        "|---|---|---|---|---|---|---|---|---|",
        *(line(row) for row in rows),
        "",
        *(f"- {row.nodes} nodes: {row.found.release.reason}." for row in rows),
    ]
    return "\n".join(lines) + "\n"


def line(row: Row) -> str:
    target = f"under {MAX_S:.0f} s and {MAX_MB:.0f} MB with at least {MIN_LOOKS} looks"
    cells = (
        f"{row.nodes:,}",
        str(row.factories),
        row.found.release.phase,
        str(row.found.looks),
        f"{row.wall_s:.1f} s",
        f"{row.cpu_s:.1f} s",
        f"{row.peak_mb:.0f} MB",
        f"{row.found.simulated_s:.0f} s",
        f"{target}: {'met' if row.met else 'missed'}",
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
