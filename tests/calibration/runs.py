"""Simulated soaks on all processors, kept on disk: what is there is not run again.

A cell's runs are lines `seed outcome look` in a file that is named by everything they depend on:
the cell, and the code of the gate and of the simulation. Ctrl-C loses the batch under way.
"""

from __future__ import annotations

import ast
import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import Pool
from pathlib import Path
from typing import Final, NamedTuple

import edgefleet.fleet
from edgefleet.fleet.finding import Outcome
from tests.calibration.cells import Cell
from tests.calibration.peers import peers_on
from tests.calibration.season import judged

BATCH: Final = 20
CODE: Final = (
    *(
        "bets",
        "budget",
        "cohorts",
        "contrast",
        "design",
        "gate",
        "paths",
        "scores",
        "stats",
        "tally",
    ),
    "floors",
)


class Ended(NamedTuple):
    """How one soak ended."""

    seed: int
    outcome: Outcome
    look: int


Judge = Callable[[Cell, int], tuple[Outcome, int]]


def ours(cell: Cell, seed: int) -> tuple[Outcome, int]:
    """Judge a soak by the product's gate."""
    return judged(cell.plant, cell.effect, cell.gates, seed)


JUDGES: Final[dict[str, Judge]] = {"edgefleet": ours, **peers_on()}


def runs_of(cell: Cell, judge: str, count: int, folder: Path, seed: int = 0) -> list[Ended]:
    """Return the runs of a cell, those that are missing made now."""
    path = folder / f"{_fingerprint(cell, judge)}.txt"
    done = {ended.seed: ended for ended in _stored(path)}
    wanted = range(seed, seed + count)
    missing = [number for number in wanted if number not in done]
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
        for ended in _made(cell, judge, missing):
            with path.open("a") as file:
                file.writelines(f"{e.seed} {e.outcome.value} {e.look}\n" for e in ended)
            done |= {e.seed: e for e in ended}
    return [done[number] for number in wanted]


def _made(cell: Cell, judge: str, seeds: Sequence[int]) -> Iterator[list[Ended]]:
    batches = [(cell, judge, seeds[at : at + BATCH]) for at in range(0, len(seeds), BATCH)]
    begun, done = time.monotonic(), 0
    with Pool(os.cpu_count()) as pool:
        for ended in pool.imap_unordered(_batch, batches):
            done += len(ended)
            yield ended
            rate = done / (time.monotonic() - begun)
            _say(f"\r{judge}: {cell.name}: {done}/{len(seeds)} runs, {rate:.1f} a second\033[K")
    _say("\n")


def _say(text: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(text)
        sys.stderr.flush()


def _batch(work: tuple[Cell, str, Sequence[int]]) -> list[Ended]:
    cell, judge, seeds = work
    return [Ended(seed, *JUDGES[judge](cell, seed)) for seed in seeds]


def _stored(path: Path) -> list[Ended]:
    if not path.is_file():
        return []
    rows = (line.split() for line in path.read_text().splitlines())
    return [Ended(int(row[0]), Outcome(row[1]), int(row[2])) for row in rows if len(row) == 3]


def _fingerprint(cell: Cell, judge: str) -> str:
    """Return what a cell's runs depend on, hashed: without the cell's name and promise."""
    text = [judge, repr(cell.plant), repr(cell.effect), repr(cell.gates), _CODE]
    return hashlib.sha256("\n".join(text).encode()).hexdigest()[:16]


def _code() -> str:
    gate = Path(edgefleet.fleet.__path__[0])
    mine = Path(__file__).parent
    files = [gate / f"{name}.py" for name in CODE]
    files += [mine / f"{name}.py" for name in ("plant", "labels", "traffic", "season", "peers")]
    # The tree and not the text: what is only laid out anew need not run again.
    return "".join(ast.dump(ast.parse(path.read_text())) for path in files)


_CODE: Final = _code()
