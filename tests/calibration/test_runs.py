"""What was simulated once is not simulated again, and what no code makes any more goes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgefleet.fleet.finding import Outcome
from tests.calibration.cells import cells
from tests.calibration.runs import Ended, forget_others, ours, runs_of

SOAK = replace(cells()[0], plant=replace(cells()[0].plant, nodes=40, canary=5, looks=2, pre=4))


def test_runs_that_are_there_are_taken_and_those_that_are_missing_are_made(tmp_path: Path) -> None:
    assert runs_of(SOAK, "edgefleet", 2, tmp_path, simulate=False) == []
    first = runs_of(SOAK, "edgefleet", 2, tmp_path, simulate=True)
    assert first == [Ended(seed, *ours(SOAK, seed)) for seed in range(2)]
    (kept,) = tmp_path.iterdir()
    kept.write_text("F7\nP60\n")
    more = runs_of(SOAK, "edgefleet", 3, tmp_path, simulate=True)
    assert more == [
        Ended(0, Outcome.FAIL, 7),
        Ended(1, Outcome.PASS, 60),
        Ended(2, *ours(SOAK, 2)),
    ]
    assert runs_of(SOAK, "edgefleet", 3, tmp_path, simulate=False) == more
    assert runs_of(SOAK, "edgefleet", 1, tmp_path, simulate=False) == more[:1]


def test_runs_that_nothing_makes_any_more_go(tmp_path: Path) -> None:
    runs_of(SOAK, "edgefleet", 1, tmp_path, simulate=True)
    (tmp_path / "0123456789abcdef.txt").write_text("P27\n")
    assert forget_others([(SOAK, "edgefleet")], tmp_path) == 1
    assert len(runs_of(SOAK, "edgefleet", 1, tmp_path, simulate=False)) == 1
