"""One look for every picture: the palette, the axes' style, and the way from a figure to SVG.

The palette is Okabe and Ito's, told apart by people with any kind of colour vision; every colour is
also told by a word, a mark or a position. SVG text stays text, so that it can be read and searched.
The same numbers give the same bytes.
"""

from __future__ import annotations

import io
import re
from types import TracebackType
from typing import Any, Final, Self

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

NEW: Final = "#0072B2"
OLD: Final = "#7A7F87"
GOOD: Final = "#009E73"
BAD: Final = "#D55E00"
UNSURE: Final = "#E69F00"
SKY: Final = "#56B4E9"
PURPLE: Final = "#CC79A7"
INK: Final = "#1F2933"
FAINT: Final = "#D5D9DE"
WASH: Final = "#F1F3F5"

WIDTH_IN: Final = 7.6
_STYLE: Final = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.5,
    "text.color": INK,
    "text.parse_math": False,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.7,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
}

Axes = Any
"""A matplotlib Axes; the library ships types that we do not follow."""


class Sheet:
    """A figure under the common style, for use in `with`; `svg` holds the picture afterwards."""

    def __init__(self, title: str, height_in: float, width_in: float = WIDTH_IN) -> None:
        self.svg = ""
        self._title = title
        self._style = mpl.rc_context({**_STYLE, "svg.hashsalt": title})
        self._size = (width_in, height_in)
        self.figure: Any = None

    def __enter__(self) -> Self:
        self._style.__enter__()
        self.figure = Figure(figsize=self._size, layout="constrained")
        FigureCanvasSVG(self.figure)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.svg = _written(self.figure, self._title)
        finally:
            self._style.__exit__(kind, error, trace)

    def axes(self, *grid: int, **options: object) -> Axes:
        """Return one Axes, or an array of them for (rows, columns)."""
        return self.figure.subplots(*grid, **options)


def _written(figure: Any, title: str) -> str:
    """Return the figure as an element for HTML: no prolog, and no id that two pictures share."""
    target = io.StringIO()
    figure.savefig(target, format="svg", metadata={"Date": None, "Creator": None})
    text = target.getvalue()
    text = text[text.index("<svg ") :]
    text = re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", text)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg [^>]*?) width="[^"]+"', r"\1", text, count=1)
    text = re.sub(r'(<svg [^>]*?) height="[^"]+"', r"\1", text, count=1)
    label = title.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return text.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def legend_above(axes: Axes, columns: int, **options: object) -> None:
    """Put the legend over the plot, where it hides nothing."""
    axes.legend(
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        ncols=columns,
        borderaxespad=0.2,
        handlelength=1.4,
        columnspacing=1.2,
        **options,
    )
