"""What the quantization search tried, and which nodes it found guilty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from edgefleet.report.pictures.canvas import BAD, FAINT, GOOD, INK, NEW, Axes, Sheet, legend_above

MOST_SUSPECTS: Final = 8
_LONGEST_NAME: Final = 18
_EVERY_TICK: Final = 15
_FEWEST_ROWS: Final = 4


@dataclass(frozen=True, slots=True)
class Step:
    """One quantized model that was measured."""

    drop_pt: float
    upper_pt: float
    """One-sided upper confidence bound of the drop."""
    excluded: int
    method: str
    speedup: float | None = None
    """Times quicker than FP32; None: not timed."""


def quantization_trace(
    steps: Sequence[Step],
    chosen: int | None,
    limit_pt: float,
    suspects: Sequence[tuple[str, float]],
    *,
    shipped: bool,
) -> str:
    """Draw drop per try against its limit, and beside it the harm that each node does alone.

    `chosen` is the index of the try that was kept (the nearest miss if nothing was `shipped`).
    """
    with Sheet("Quantization: loss of accuracy per try", 2.9) as sheet:
        if suspects:
            left, right = sheet.axes(1, 2, width_ratios=(3, 2))
            _suspects(right, suspects[:MOST_SUSPECTS])
        else:
            left = sheet.axes()
        _tries(left, steps, chosen, limit_pt, shipped=shipped)
    return sheet.svg


def _tries(
    axes: Axes, steps: Sequence[Step], chosen: int | None, limit_pt: float, *, shipped: bool
) -> None:
    numbers = range(1, len(steps) + 1)
    for number, step in zip(numbers, steps, strict=True):
        fits = step.drop_pt <= limit_pt and step.upper_pt <= 2 * limit_pt
        axes.plot(
            [number, number],
            [step.drop_pt, step.upper_pt],
            color=GOOD if fits else BAD,
            linewidth=1.4,
            alpha=0.6,
        )
        axes.plot(
            number,
            step.drop_pt,
            marker="o" if fits else "X",
            color=GOOD if fits else BAD,
            markersize=7,
            linestyle="none",
        )
        axes.annotate(
            f"{step.excluded}",
            (number, step.upper_pt),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    axes.axhline(limit_pt, color=INK, linewidth=1, linestyle=(0, (4, 2)), label="limit")
    axes.plot([], [], marker="o", color=GOOD, linestyle="none", label="within")
    axes.plot([], [], marker="X", color=BAD, linestyle="none", label="above")
    if chosen is not None:
        _ring(axes, chosen + 1, steps[chosen], shipped=shipped)
    axes.set_yscale("symlog", linthresh=1.0, linscale=1.0)
    top = max([limit_pt, *(step.upper_pt for step in steps)])
    axes.set_ylim(min([0.0, *(step.drop_pt for step in steps)]) - 0.3, top * 2.0 + 0.2)
    ticks = [tick for tick in (0, 0.5, 1, 2, 5, 10, 20, 50, 100) if tick <= top * 1.6 + 0.2]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlim(0.4, len(steps) + 0.8)
    axes.set_xticks(list(numbers) if len(steps) <= _EVERY_TICK else list(numbers)[::5])
    axes.set_xlabel("try (number above: nodes left in float)")
    axes.set_ylabel("drop against FP32, points")
    axes.set_title("Tries")
    axes.grid(axis="y")
    legend_above(axes, 3, markerscale=0.9)


def _ring(axes: Axes, number: int, step: Step, *, shipped: bool) -> None:
    axes.plot(
        number,
        step.drop_pt,
        marker="o",
        markersize=14,
        markerfacecolor="none",
        markeredgecolor=NEW,
        markeredgewidth=1.8,
    )
    word = "kept" if shipped else "best, not shipped"
    speed = f", x{step.speedup:.2f}" if step.speedup is not None else ""
    axes.annotate(
        word + speed,
        (number, step.drop_pt),
        xytext=(0, -9),
        textcoords="offset points",
        ha="center",
        va="top",
        color=NEW,
        fontsize=8.5,
        fontweight="bold",
    )


def _suspects(axes: Axes, suspects: Sequence[tuple[str, float]]) -> None:
    names = [
        name if len(name) <= _LONGEST_NAME else f"{name[:8]}…{name[-8:]}" for name, _ in suspects
    ]
    guilt = [value for _, value in suspects]
    places = range(len(names))
    axes.barh(places, guilt, color=NEW, height=0.62)
    axes.set_yticks(places, names)
    axes.set_ylim(max(len(names), _FEWEST_ROWS) - 0.5, -0.5)
    axes.set_xlim(0, max([*guilt, 1e-9]) * 1.25)
    for place, value in zip(places, guilt, strict=True):
        axes.annotate(
            f"{value:.2g}",
            (max(value, 0.0), place),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.spines["left"].set_color(FAINT)
    axes.tick_params(length=0)
    axes.set_title("Harm of each node alone")
