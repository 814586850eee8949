"""`make calibration`: simulate every scenario, write docs/calibration.md and its pictures.

And docs/guard-calibration.md, which `--guard` writes alone.

What was simulated before, on any machine and with the same code, is taken from the folder `found`
beside this file: an interrupted run goes on where it was. Commit it with the pages.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from edgefleet.machine import cpu
from tests.calibration import vigil_page
from tests.calibration.cells import Cell, cells
from tests.calibration.page import PAGE, page
from tests.calibration.pictures import draw
from tests.calibration.runs import JUDGES, Ended, forget_others, runs_of

COUNTS: Final = {"equal": 2000, "margin": 2000, "power": 300}
PEERS: Final = 300
FOUND: Final = Path(__file__).parent / "found"
STAGES: Final = (100, 300, 1000)
FULL: Final = 5
"""Times as many with `--full`."""


def asked() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(prog="make calibration ARGS=...", description=__doc__)
    parser.add_argument("--full", action="store_true", help=f"{FULL} times as many runs")
    parser.add_argument("--runs", type=int, help="so many runs of each scenario, for a first look")
    parser.add_argument("--found", action="store_true", help="the gate's page, of what is there")
    parser.add_argument("--guard", action="store_true", help="of the guard alone (minutes)")
    parser.add_argument("--folder", type=Path, default=FOUND, help="of the runs")
    return parser.parse_args()


def count_of(cell: Cell, judge: str, options: argparse.Namespace) -> int:
    """Return how many runs a cell gets; none: a judge that has nothing to look at."""
    if judge != "edgefleet" and (cell.alone or cell.plant.source == "pairs"):
        return 0
    usual = COUNTS[cell.kind] if judge == "edgefleet" else PEERS
    return options.runs or usual * (FULL if options.full else 1)


def simulated(options: argparse.Namespace) -> dict[tuple[str, str], list[Ended]]:
    """Return the runs by cell and judge; everything a little, then more: it may be interrupted."""
    found = {}
    for most in (*STAGES, COUNTS["equal"] * FULL):
        for judge in JUDGES:
            for cell in cells():
                count = min(count_of(cell, judge, options), most)
                made = runs_of(cell, judge, count, options.folder, simulate=not options.found)
                if made:
                    found[cell.name, judge] = made
    return found


def main() -> None:
    """Simulate, and write the pages and their pictures."""
    options = asked()
    if not options.guard:
        found = simulated(options)
        PAGE.write_text(page(found, cpu()), encoding="utf-8")
        for path, svg in draw(found).items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(svg, encoding="utf-8")
        every = ((cell, judge) for cell in cells() for judge in JUDGES)
        forget_others(every, options.folder)
    if not options.found:
        vigils = vigil_page.simulated(options.runs or vigil_page.FLEETS)
        vigil_page.PAGE.write_text(vigil_page.page(vigils, cpu()), encoding="utf-8")


if __name__ == "__main__":
    main()
