"""Requests per second around cut-overs: all of them added up, and the worst one alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgefleet.report.pictures.canvas import BAD, GOOD, INK, UNSURE, Axes, Sheet


@dataclass(frozen=True, slots=True)
class Moment:
    """Requests that began in one short bin, by its start relative to the cut-over."""

    offset_s: float
    ok: int
    failed: int = 0
    refused: int = 0


def requests_around(
    total: Sequence[Moment], worst: Sequence[Moment], cutovers: int, worst_name: str, bin_s: float
) -> str:
    """Draw requests per second around the cut-overs: all of them added up, and the worst node."""
    with Sheet("Requests around the cut-overs", 2.9) as sheet:
        left, right = sheet.axes(1, 2)
        whole = _stack(left, total, bin_s)
        _stack(right, worst, bin_s)
        left.set_title(f"All {cutovers} cut-overs, added up")
        right.set_title(f"Worst: {worst_name}")
        left.set_ylabel("requests per second")
        counts = {"ok": whole.ok, "failed": whole.failed, "refused": whole.refused}
        handles, labels = left.get_legend_handles_labels()
        words = [f"{label}: {counts[label]:,}" for label in labels]
        sheet.figure.legend(handles, words, loc="outside upper right", ncols=3)
    return sheet.svg


def _stack(axes: Axes, moments: Sequence[Moment], bin_s: float) -> Moment:
    at = [moment.offset_s + bin_s / 2 for moment in moments]
    low = [0.0] * len(moments)
    parts = (("ok", GOOD, ""), ("refused", UNSURE, "///"), ("failed", BAD, "xxx"))
    for name, colour, hatch in parts:
        height = [getattr(moment, name) / bin_s for moment in moments]
        axes.bar(
            at,
            height,
            width=bin_s * 0.92,
            bottom=low,
            color=colour,
            hatch=hatch,
            edgecolor="white" if hatch else colour,
            linewidth=0,
            label=name,
        )
        low = [a + b for a, b in zip(low, height, strict=True)]
    axes.axvline(0, color=INK, linewidth=1, linestyle=(0, (4, 2)))
    axes.annotate(
        "cut-over",
        (0, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(4, -2),
        textcoords="offset points",
        va="top",
        fontsize=8,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.85},
    )
    axes.set_ylim(0, max([1.0, *low]) * 1.22)
    axes.set_xlabel("seconds from the cut-over")
    axes.grid(axis="y")
    whole = Moment(0.0, 0)
    for moment in moments:
        whole = replace(
            whole,
            ok=whole.ok + moment.ok,
            failed=whole.failed + moment.failed,
            refused=whole.refused + moment.refused,
        )
    return whole
