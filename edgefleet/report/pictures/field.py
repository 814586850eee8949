"""What the cameras saw: latency old against new, paired answers, and the evidence look by look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from matplotlib.ticker import LogLocator

from edgefleet.edge.contract import BOUNDS_S, BUCKETS
from edgefleet.report.pictures.canvas import (
    BAD,
    FAINT,
    GOOD,
    INK,
    NEW,
    OLD,
    UNSURE,
    Axes,
    Sheet,
    legend_above,
)

_QUANTILES: Final = ((0.5, "p50"), (0.05, "p95"), (0.01, "p99"))
OUTCOME_COLOURS: Final = {"pass": GOOD, "fail": BAD, "inconclusive": UNSURE}


def latency_distributions(old: Sequence[int], new: Sequence[int]) -> str:
    """Draw the share of answers slower than x, both axes logarithmic.

    `old` (controls) and `new` (canary) are counts per bucket of `BOUNDS_S`, and one above.
    """
    with Sheet("Latency: share of answers slower than a time", 3.1) as sheet:
        axes = sheet.axes()
        curves = ((old, OLD, (0, (5, 2)), "controls (old)"), (new, NEW, "-", "canary (new)"))
        for counts, colour, line, name in curves:
            if not any(counts):
                continue  # a first release has nothing old to stand beside it
            times, shares = _slower(counts)
            label = f"{name}, n={sum(counts):,}"
            axes.plot(times, shares, color=colour, linestyle=line, label=label)
        for share, name in _QUANTILES:
            axes.axhline(share, color=FAINT, linewidth=0.8, zorder=0)
            axes.annotate(
                name,
                (1.0, share),
                xycoords=("axes fraction", "data"),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8.5,
            )
        axes.set_xscale("log")
        axes.set_yscale("log")
        least = 0.5 / max(sum(old), sum(new), 200)
        axes.set_ylim(max(least, 1e-5), 1.15)
        seen = [i for i in range(BUCKETS) if _at(old, i) or _at(new, i)]
        if seen:
            axes.set_xlim(BOUNDS_S[max(seen[0] - 2, 0)] * 1e3, BOUNDS_S[seen[-1]] * 1e3 * 1.15)
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
        axes.minorticks_off()
        axes.set_xlabel("server-side latency, ms")
        axes.set_ylabel("slower answers")
        axes.grid(axis="x")
        legend_above(axes, 2)
    return sheet.svg


def _at(counts: Sequence[int], index: int) -> int:
    return counts[index] if index < len(counts) else 0


def _slower(counts: Sequence[int]) -> tuple[list[float], list[float]]:
    total = sum(counts)
    if not total:
        return [], []
    below = list(accumulate(counts[:BUCKETS]))
    shares = [1 - value / total for value in below]
    points = [(BOUNDS_S[i] * 1e3, s) for i, s in enumerate(shares) if s > 0]
    return [t for t, _ in points], [s for _, s in points]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Paired answers of the canary in one window."""

    window: int
    """Counted from the canary's first one."""
    gains: int
    losses: int


def paired_answers(windows: Sequence[Pairs], paired: int) -> str:
    """Draw how often only the new model was right (up) and only the old (down), and their sum."""
    with Sheet("Paired answers: gains and losses by window", 2.7) as sheet:
        left, right = sheet.axes(1, 2, width_ratios=(3, 2), sharex=True)
        at = [pairs.window for pairs in windows]
        gains, losses = sum(p.gains for p in windows), sum(p.losses for p in windows)
        up, down = [p.gains for p in windows], [-p.losses for p in windows]
        left.bar(at, up, color=GOOD, width=0.8, label=f"only new right: {gains}")
        left.bar(at, down, color=BAD, width=0.8, label=f"only old right: {losses}")
        left.yaxis.set_major_formatter(lambda value, _: f"{abs(value):g}" if value else "0")
        left.set_ylabel("labelled answers")
        legend_above(left, 2)
        net = list(accumulate(p.gains - p.losses for p in windows))
        right.plot(at, net, color=NEW, marker="o", markersize=3)
        right.set_ylabel("gains minus losses")
        share = 100 * (gains - losses) / max(paired, 1)
        right.set_title(f"Sum: {gains - losses:+d} of {paired:,} ({share:+.1f} pt)")
        for axes in (left, right):
            axes.axhline(0, color=INK, linewidth=0.7)
            axes.yaxis.get_major_locator().set_params(integer=True)
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.set_xlabel("window since the change")
            axes.grid(axis="y")
    return sheet.svg


@dataclass(frozen=True, slots=True)
class Track:
    """One metric's evidence, look by look; 1.0 is the boundary of a decision."""

    metric: str
    toward_pass: Sequence[float | None]
    """None: no evidence at that look."""
    toward_fail: Sequence[float | None]
    outcome: str
    """`pass`, `fail` or `inconclusive`."""
    text: str = ""


def evidence_over_looks(tracks: Sequence[Track]) -> str:
    """Draw a panel per metric: how far the evidence for PASS and for FAIL had come at each look."""
    columns = min(len(tracks), 3) or 1
    rows = -(-len(tracks) // columns) or 1
    with Sheet("Evidence against its boundaries, look by look", 0.5 + 2.0 * rows) as sheet:
        grid = sheet.axes(rows, columns, squeeze=False, sharex=True, sharey=True)
        cells = [axes for row in grid for axes in row]
        for axes, track in zip(cells, tracks, strict=False):
            _track(axes, track)
        for axes in cells[len(tracks) :]:
            axes.set_visible(False)
        for row in grid:
            row[0].set_ylabel("share of what is needed")
        for axes in cells[max(len(tracks) - columns, 0) : len(tracks)]:
            axes.set_xlabel("look")
            axes.tick_params(labelbottom=True)
        handles, labels = cells[0].get_legend_handles_labels()
        sheet.figure.legend(handles, labels, loc="outside upper right", ncols=3)
    return sheet.svg


def _track(axes: Axes, track: Track) -> None:
    looks = range(1, len(track.toward_pass) + 1)
    lines = (
        (track.toward_pass, GOOD, "-", "o", "toward PASS"),
        (track.toward_fail, BAD, (0, (4, 1.5)), "X", "toward FAIL"),
    )
    for values, colour, line, mark, name in lines:
        shown = [float("nan") if v is None else min(max(v, 0.0), 1.3) for v in values]
        axes.plot(looks, shown, color=colour, linestyle=line, label=name)
        decided = {"pass": GOOD, "fail": BAD}.get(track.outcome) == colour
        first = next((i for i, v in enumerate(shown) if v >= 1), len(shown) - 1)
        if decided and shown:
            axes.plot(first + 1, shown[first], marker=mark, color=colour, markersize=8)
    axes.axhline(1.0, color=INK, linewidth=1, linestyle=(0, (4, 2)), label="boundary")
    axes.set_ylim(-0.04, 1.42)
    axes.set_yticks((0, 0.5, 1), ("0", "50 %", "100 %"))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_title(track.metric)
    colour = OUTCOME_COLOURS[track.outcome]
    axes.annotate(
        track.outcome.upper(),
        (1.0, 1.0),
        xycoords="axes fraction",
        ha="right",
        va="bottom",
        xytext=(0, 5),
        textcoords="offset points",
        color=colour if track.outcome != "inconclusive" else INK,
        fontsize=8.5,
        fontweight="bold",
    )
    axes.grid(axis="y")
