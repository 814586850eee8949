"""The pictures of docs/calibration.md: error rates beside their promises, and times to decide."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from edgefleet.fleet.finding import Outcome
from edgefleet.report.pictures.canvas import BAD, FAINT, GOOD, INK, NEW, OLD, Sheet
from tests.calibration.cells import Kind
from tests.calibration.page import (
    OURS,
    PROMISED,
    RATES,
    SPEED,
    WRONG,
    Found,
    broken,
    of_kind,
    share,
)

_CURVES: Final = (
    (
        "as good, labelled first",
        "usual; pairs, disagreements labelled first",
        Outcome.PASS,
        GOOD,
        "-",
    ),
    ("as good, labels as they come", "usual; pairs", Outcome.PASS, GOOD, "--"),
    ("as good, no pairs", "usual; labels", Outcome.PASS, GOOD, ":"),
    (
        "-5 pt, labelled first",
        "-5 pt, 10 nodes x 5 pairs, disagreements labelled first, margin 2 pt",
        Outcome.FAIL,
        BAD,
        "-",
    ),
    (
        "-5 pt, labels as they come",
        "-5 pt, 10 nodes x 5 pairs, margin 2 pt",
        Outcome.FAIL,
        BAD,
        "--",
    ),
    ("-5 pt, no pairs", "-5 pt, 10 nodes x 5 labels, margin 2 pt", Outcome.FAIL, BAD, ":"),
)


def draw(found: Found) -> dict[Path, str]:
    """Return the pictures."""
    return {RATES: _rates(found), SPEED: _speed(found)}


def _rates(found: Found) -> str:
    kinds: tuple[Kind, ...] = ("equal", "margin")
    rows = {kind: of_kind(kind, found) for kind in kinds}
    height = 1.2 + 0.17 * sum(map(len, rows.values()))
    with Sheet("Error rates with exact 95 % intervals, beside their promises", height) as sheet:
        axes = sheet.axes(2, 1, height_ratios=[max(len(listed), 1) for listed in rows.values()])
        titles = {"equal": "False alarms", "margin": "False passes at a margin"}
        for panel, kind in zip(axes, kinds, strict=True):
            for row, cell in enumerate(reversed(rows[kind])):
                rate = share(found[cell.name, OURS], WRONG[kind])
                low, high = rate.interval()
                colour = BAD if broken(cell, found[cell.name, OURS]) else NEW
                panel.plot([100 * low, 100 * high], [row, row], color=colour, linewidth=1.2)
                panel.plot(rate.percent, row, "o", color=colour, markersize=3.5)
            panel.axvline(100 * PROMISED[kind], color=INK, linestyle="--", linewidth=0.9)
            panel.set_yticks(
                range(len(rows[kind])), [c.name for c in reversed(rows[kind])], fontsize=6.5
            )
            panel.set_title(f"{titles[kind]}; dashed: promised, at most {100 * PROMISED[kind]:g} %")
            panel.set_xlim(left=-0.02 * 100 * PROMISED[kind])
            panel.set_xlabel("% of the soaks")
            panel.grid(axis="x", color=FAINT)
    return sheet.svg


def _speed(found: Found) -> str:
    with Sheet("Share decided by each look: 10 canary nodes, 5 labels a window", 3.4) as sheet:
        axes = sheet.axes()
        for label, name, outcome, colour, style in _CURVES:
            runs = found.get((name, OURS), ())
            if runs:
                looks = range(1, 61)
                decided = [
                    100 * sum(e.outcome is outcome and e.look <= look for e in runs) / len(runs)
                    for look in looks
                ]
                word = f"{outcome.value.upper()}: {label}"
                axes.plot(looks, decided, style, color=colour, label=word)
        axes.axvline(10, color=OLD, linewidth=0.8)
        axes.set_xlabel("look (window); no PASS before window 10")
        axes.set_ylabel("% of the soaks")
        axes.legend(loc="lower right", fontsize=7.5)
        axes.grid(axis="y")
    return sheet.svg
