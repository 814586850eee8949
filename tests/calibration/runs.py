"""Simulated soaks on all processors, kept in the repository: what is there is not run again.

A cell's runs are the lines of a file, that of seed 0 first: an outcome's first letter and the look
that decided (`P27`). The file is named by everything that its runs depend on: the cell, and the
code of the gate and of the simulation. Ctrl-C loses the batches under way.
"""

from __future__ import annotations

import ast
import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import get_context
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


_LETTER: Final = {outcome: outcome.value[0].upper() for outcome in Outcome}
_OUTCOME: Final = {letter: outcome for outcome, letter in _LETTER.items()}


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


def runs_of(cell: Cell, judge: str, count: int, folder: Path, *, simulate: bool) -> list[Ended]:
    """Return a cell's runs of the seeds 0 to `count` - 1.

    Those that are missing are made now, or left out.
    """
    path = _file(cell, judge, folder)
    done = _stored(path)
    if simulate and len(done) < count:
        folder.mkdir(parents=True, exist_ok=True)
        for ended in _made(cell, judge, range(len(done), count)):
            with path.open("a") as file:
                file.writelines(f"{_LETTER[e.outcome]}{e.look}\n" for e in ended)
            done += ended
    return done[:count]


def forget_others(of: Iterable[tuple[Cell, str]], folder: Path) -> int:
    """Remove the runs of code and cells that are no more; return how many files that were."""
    wanted = {_file(cell, judge, folder) for cell, judge in of}
    others = [path for path in folder.glob("*.txt") if path not in wanted]
    for path in others:
        path.unlink()
    return len(others)


def _made(cell: Cell, judge: str, seeds: range) -> Iterator[list[Ended]]:
    batches = [(cell, judge, seeds[at : at + BATCH]) for at in range(0, len(seeds), BATCH)]
    begun, done = time.monotonic(), 0
    # Spawned: whoever calls may have threads, which a fork would not survive.
    with get_context("spawn").Pool(os.cpu_count()) as pool:
        for ended in pool.imap(_batch, batches):
            done += len(ended)
            yield ended
            rate = done / (time.monotonic() - begun)
            _say(f"\r{judge}: {cell.name}: {seeds[0] + done} runs, {rate:.1f} a second\033[K")
    _say("\n")


def _say(text: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(text)
        sys.stderr.flush()


def _batch(work: tuple[Cell, str, range]) -> list[Ended]:
    cell, judge, seeds = work
    return [Ended(seed, *JUDGES[judge](cell, seed)) for seed in seeds]


def _stored(path: Path) -> list[Ended]:
    if not path.is_file():
        return []
    lines = enumerate(path.read_text().splitlines())
    return [Ended(seed, _OUTCOME[line[0]], int(line[1:])) for seed, line in lines]


def _file(cell: Cell, judge: str, folder: Path) -> Path:
    return folder / f"{_fingerprint(cell, judge)}.txt"


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
