"""A small calibration: fails where an error rate is shown to lie above its promise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgefleet.fleet.finding import Outcome
from tests.calibration.cells import Cell, cells
from tests.calibration.page import PROMISED, Share, broken, page
from tests.calibration.pictures import draw
from tests.calibration.runs import JUDGES, Ended, ours

CELLS = {cell.name: cell for cell in cells()}
RUNS = 12
FEW_LOOKS = 20


def shortened(name: str) -> Cell:
    """Return a cell whose soak may decide at a third of the looks."""
    cell = CELLS[name]
    return replace(cell, plant=replace(cell.plant, looks=FEW_LOOKS))


@pytest.mark.parametrize(
    "name",
    [
        "usual; pairs",
        "stress; pairs",
        "heavy tails; labels",
        "bursts; labels",
        "missing; pairs",
        "usual; accuracy -2 pt, labels",
        "stress; latency x1.15, none",
        "bursts; errors +0.3 pt, none",
        "usual; accuracy -2 pt, pairs, disagreements labelled first",
    ],
)
def test_no_error_rate_is_shown_to_lie_above_its_promise(name: str) -> None:
    cell = shortened(name)
    runs = [Ended(seed, *ours(cell, seed)) for seed in range(RUNS)]
    assert not broken(cell, runs), [run for run in runs if run.outcome is not Outcome.INCONCLUSIVE]


@pytest.mark.parametrize(
    ("name", "within"),
    [
        ("-5 pt, 10 nodes x 5 pairs, disagreements labelled first, margin 2 pt", 10),
        ("-10 pt, 10 nodes x 5 labels, margin 2 pt", 12),
        ("p99 x1.5, 10 nodes", 3),
        ("errors 0.1 -> 1 %, 5 nodes", 5),
    ],
)
def test_a_bad_model_is_found_within_its_time(name: str, within: int) -> None:
    for seed in range(3):
        outcome, look = ours(CELLS[name], seed)
        assert (outcome, look <= within) == (Outcome.FAIL, True), (
            f"seed {seed}: {outcome} at {look}"
        )


def test_the_judges_of_others_see_the_same_soaks_and_send_good_models_back() -> None:
    cell = CELLS["usual; labels"]
    ends = {judge: JUDGES[judge](cell, 1) for judge in ("thresholds", "Mann-Whitney")}
    assert Outcome.INCONCLUSIVE not in {outcome for outcome, _ in ends.values()}
    bad = CELLS["-10 pt, 10 nodes x 5 labels, margin 2 pt"]
    assert {JUDGES[judge](bad, 1)[0] for judge in ends} == {Outcome.FAIL}


def test_a_promise_is_broken_when_the_exact_lower_bound_lies_above_it() -> None:
    cell = CELLS["usual; pairs"]
    fine = [Ended(seed, Outcome.PASS, 12) for seed in range(1000)]
    worse = [Ended(seed, Outcome.FAIL, 12) for seed in range(20)]
    assert not broken(cell, fine)
    assert not broken(cell, [*fine[:-12], *worse[:12]]), "1.2 % of 1,000 may be 1 %"
    assert broken(cell, [*fine[:-20], *worse])
    assert Share(0, 300).interval()[1] == pytest.approx(0.0122, abs=1e-4)
    assert PROMISED == {"equal": 0.01, "margin": 0.05}


def test_the_page_says_what_is_broken_and_leaves_out_what_was_not_run() -> None:
    found = {
        ("usual; pairs", "edgefleet"): [Ended(seed, Outcome.FAIL, 9) for seed in range(50)],
        ("usual; accuracy -2 pt, pairs", "edgefleet"): [Ended(0, Outcome.FAIL, 30)],
    }
    text = page(found, "a machine")
    assert "**Broken in: usual; pairs.**" in text
    assert "stress; pairs" not in text
    assert all(svg.startswith("<svg") for svg in draw(found).values())
    assert Path("docs/calibration.md").is_file()
