"""What moved: phases on one time axis, and who got the package in which wave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from textwrap import fill
from typing import Final

from matplotlib.patches import Rectangle

from edgefleet.report.pictures.canvas import (
    BAD,
    GOOD,
    INK,
    NEW,
    OLD,
    PURPLE,
    SKY,
    UNSURE,
    WASH,
    Axes,
    Sheet,
    legend_above,
)

_KINDS: Final = {
    "in the lab": (OLD, ("qualifying", "planned")),
    "a person": (PURPLE, ("awaiting", "confirming", "held")),
    "pre-pull": (SKY, ("prepulling",)),
    "changing nodes": (NEW, ("canary", "rolling")),
    "looking": (UNSURE, ("soaking",)),
    "going back": (BAD, ("reverting",)),
}
_COLOUR_OF: Final = {phase: colour for colour, phases in _KINDS.values() for phase in phases}
_ENDS: Final = {"released": GOOD, "rolled_back": BAD}
_LABEL_WIDTH: Final = 26
_CHARACTER_SHARE: Final = 0.011
"""Of the time axis's length, taken by one character of a bar's word."""


@dataclass(frozen=True, slots=True)
class Span:
    """One stay in one phase, seconds since the run's start."""

    phase: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Line:
    """One story's phases in order, and the phase in which it ended."""

    name: str
    spans: Sequence[Span]
    ended: str


def timeline(lines: Sequence[Line]) -> str:
    """Draw the phases of all stories on one time axis."""
    with Sheet("Phases of all releases over time", 0.95 + 0.5 * max(len(lines), 1)) as sheet:
        axes = sheet.axes()
        length_s = max([1.0, *(span.end_s for line in lines for span in line.spans)])
        for row, line in enumerate(lines):
            for span in line.spans:
                _bar(axes, row, span, length_s)
            if line.spans:
                axes.annotate(
                    line.ended.replace("_", " ").upper(),
                    (line.spans[-1].end_s, row),
                    xytext=(5, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=8.5,
                    fontweight="bold",
                    color=_ENDS.get(line.ended, INK),
                )
        used = {span.phase for line in lines for span in line.spans}
        for name, (colour, phases) in _KINDS.items():
            if used.intersection(phases):
                axes.barh(0, 0, color=colour, label=name)
        names = [fill(line.name, _LABEL_WIDTH, max_lines=2, placeholder=" …") for line in lines]
        axes.set_yticks(range(len(lines)), names)
        axes.set_ylim(max(len(lines), 1) - 0.45, -0.55)
        axes.set_xlim(0, length_s * 1.15)
        axes.set_xlabel("seconds since the start")
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        if used:
            legend_above(axes, 6, handleheight=0.9)
    return sheet.svg


def _bar(axes: Axes, row: int, span: Span, length_s: float) -> None:
    took_s = span.end_s - span.start_s
    colour = _COLOUR_OF.get(span.phase, OLD)
    axes.barh(
        row, took_s, left=span.start_s, height=0.62, color=colour, edgecolor="white", linewidth=0.8
    )
    if took_s > len(span.phase) * _CHARACTER_SHARE * length_s:
        dark = colour in {SKY, UNSURE, PURPLE}
        axes.text(
            span.start_s + took_s / 2,
            row,
            span.phase,
            ha="center",
            va="center",
            fontsize=7.5,
            color=INK if dark else "white",
        )


@dataclass(frozen=True, slots=True)
class Cell:
    """One node on the map."""

    node: str
    factory: str
    wave: int | None
    """0 is the canary; None: in no wave."""
    mark: str = ""
    """`deferred`, `excluded`, `pinned` or `failed`; empty: as planned."""


_LEFT_OUT: Final = ("deferred", "excluded", "pinned")
_WAVES: Final = (UNSURE, SKY, "#2E8BC0", NEW, "#0B3C5D")


def node_map(cells: Sequence[Cell], names: Sequence[str]) -> str:
    """Draw factories as rows and their nodes as cells: colour and letter tell the wave.

    `names` are the waves' names by number; a colour is repeated when there are many waves, its
    letter is not.
    """
    ordered = sorted(cells, key=lambda cell: (cell.factory, cell.node))
    rows = [(factory, list(group)) for factory, group in groupby(ordered, lambda c: c.factory)]
    per_line = 34
    heights = [-(-len(nodes) // per_line) for _, nodes in rows]
    with Sheet("Which node got the package in which wave", 0.75 + 0.24 * sum(heights)) as sheet:
        axes = sheet.axes()
        widest = min(max([1, *(len(nodes) for _, nodes in rows)]), per_line)
        top = 0
        ticks: list[float] = []
        for (_, nodes), height in zip(rows, heights, strict=True):
            for index, cell in enumerate(nodes):
                _cell(axes, cell, index % per_line, top + index // per_line)
            ticks.append(top + height / 2)
            top += height
        axes.set_xlim(-0.1, max(widest, 22) + 0.1)
        axes.set_ylim(top + 0.1, -0.1)
        axes.set_yticks(ticks, [f"{factory} ({len(nodes)})" for factory, nodes in rows])
        axes.set_xticks([])
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        _map_legend(axes, cells, names)
    return sheet.svg


def _letter(wave: int | None) -> str:
    if wave is None:
        return "·"
    return "C" if wave == 0 else str(wave)


def _colour(wave: int | None) -> str:
    if wave is None:
        return WASH
    return _WAVES[0] if wave == 0 else _WAVES[1 + (wave - 1) % (len(_WAVES) - 1)]


def _cell(axes: Axes, cell: Cell, x: int, y: int) -> None:
    colour = _colour(cell.wave)
    axes.add_patch(
        Rectangle(
            (x + 0.05, y + 0.07),
            0.9,
            0.86,
            facecolor=colour,
            edgecolor=BAD if cell.mark == "failed" else (OLD if cell.mark else "white"),
            linewidth=1.4 if cell.mark else 0.5,
            hatch="////" if cell.mark in _LEFT_OUT else None,
        )
    )
    light = cell.wave is None or colour in {UNSURE, SKY, WASH}
    axes.text(
        x + 0.5,
        y + 0.52,
        "x" if cell.mark == "failed" else _letter(cell.wave),
        ha="center",
        va="center",
        fontsize=7.5,
        color=INK if light else "white",
    )


def _map_legend(axes: Axes, cells: Sequence[Cell], names: Sequence[str]) -> None:
    for wave, name in enumerate(names):
        count = sum(cell.wave == wave for cell in cells)
        shown = f"{_letter(wave)}  {name}: {count}"
        axes.add_patch(Rectangle((0, 0), 0, 0, facecolor=_colour(wave), label=shown))
    for mark in (*_LEFT_OUT, "failed"):
        count = sum(cell.mark == mark for cell in cells)
        if count:
            hatch = None if mark == "failed" else "////"
            edge = BAD if mark == "failed" else OLD
            shown = f"{mark}: {count}"
            patch = Rectangle(
                (0, 0), 0, 0, facecolor=WASH, edgecolor=edge, hatch=hatch, label=shown
            )
            axes.add_patch(patch)
    rest = sum(cell.wave is None and not cell.mark for cell in cells)
    if rest:
        axes.add_patch(
            Rectangle((0, 0), 0, 0, facecolor=WASH, label=f"·  keep what they have: {rest}")
        )
    handles, _ = axes.get_legend_handles_labels()
    if handles:
        axes.legend(
            loc="upper left",
            bbox_to_anchor=(0.0, 0.0),
            ncols=min(len(handles), 4),
            handlelength=1.2,
            handleheight=1.0,
            columnspacing=1.4,
        )
