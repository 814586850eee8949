"""One run on one page: HTML that needs nothing but itself, and a short table for the terminal."""

from __future__ import annotations

from functools import cache
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from rich.console import Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from edgefleet.plant.record import PlantRecord
from edgefleet.report.chapters import chapter
from edgefleet.report.drawings import draw_cutovers, draw_timeline
from edgefleet.report.shown import NEAR_S, Check, Report, StoryResult, fewest_near
from edgefleet.report.words import duration, whole

__all__ = ["Check", "Report", "StoryResult", "page", "terminal"]

_LINE_WINDOW_S: Final = 60.0


def page(report: Report) -> str:
    """Return the page: no scripts, no fonts and no addresses outside of it."""
    plant = report.plant
    return (
        _templates()
        .get_template("page.html")
        .render(
            report=report,
            facts=facts(report),
            totals=() if plant is None else totals(plant),
            timeline=draw_timeline(report.stories, report.started),
            cutovers="" if plant is None else draw_cutovers(plant),
            chapters=[chapter(number, shown) for number, shown in enumerate(report.stories, 1)],
        )
    )


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("edgefleet.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def facts(report: Report) -> tuple[tuple[str, str], ...]:
    """Return what the reader must know of the run."""
    took = (report.ended - report.started).total_seconds()
    return (
        ("Ran", f"{report.started:%Y-%m-%d %H:%M:%S} UTC, {duration(took)}"),
        ("Machine", report.machine),
        ("Windows", windows_note(report.window_s)),
    )


def windows_note(window_s: float) -> str:
    """Return how long a window of evidence was, and what it is in production."""
    note = f"Evidence windows were {window_s:g} s long here"
    return note + ("." if window_s >= _LINE_WINDOW_S else "; on a real line one minute.")


def totals(plant: PlantRecord) -> tuple[tuple[str, str, bool], ...]:
    """Return (name, number, whether it is as it should be)."""
    counts = plant.totals
    fewest = fewest_near(plant)
    tiles = [
        ("requests answered", whole(counts.ok), counts.ok > 0),
        ("failed", whole(counts.failed), counts.failed == 0),
        ("refused", whole(counts.refused), True),
        ("cut-overs", whole(len(plant.cutovers)), True),
    ]
    if fewest is not None:
        name = f"fewest requests within {NEAR_S:g} s of a cut-over ({fewest[0].node})"
        tiles.append((name, whole(fewest[1]), fewest[1] > 0))
    return tuple(tiles)


def terminal(report: Report) -> RenderableType:
    """Return the run in short."""
    grid = Grid(box=None, pad_edge=False)
    for column in ("", "", ""):
        grid.add_column(column, overflow="fold")
    for shown in report.stories:
        ended = shown.ended if shown.ok else f"{shown.ended} (should be: {shown.expected})"
        grid.add_row(_mark(ok=shown.ok), Text(shown.title, "bold"), Text(ended))
    for check in report.checks:
        grid.add_row(_mark(ok=check.ok), Text(check.name), Text(check.text))
    took = duration((report.ended - report.started).total_seconds())
    parts: list[RenderableType] = [grid, Text(windows_note(report.window_s), "bright_black")]
    if report.plant is not None:
        numbers = ", ".join(f"{name} {number}" for name, number, _ in totals(report.plant))
        parts.insert(1, Text(numbers))
    end = "everything as it should be" if report.ok else "NOT as it should be"
    style = "bold green" if report.ok else "bold red"
    return Group(*parts, Text(f"{end}, in {took}", style))


def _mark(*, ok: bool) -> Text:
    return Text("ok ", "bold green") if ok else Text("NOT", "bold red")
