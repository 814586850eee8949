"""The live view's picture of one moment: pure, from what was read to what rich prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import groupby
from typing import Final

import msgspec
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from edgefleet.fleet.inventory import NodeView
from edgefleet.fleet.release import ENDS, TO_THE_FLEET, Phase, Release
from edgefleet.ports import Entry

JOURNAL_LINES: Final = 12
_COLOURS: Final = (
    "bright_black",
    "dodger_blue1",
    "dark_orange",
    "spring_green3",
    "orchid",
    "gold1",
)
_MARKS: Final = "■◆▲●★▼"
"""Told apart without colours, too."""
_GOOD_END: Final = "bold white on green4"
_OTHER_END: Final = "bold white on red3"


class Counts(msgspec.Struct, frozen=True):
    """Requests since the plant started: what is shown of its totals file."""

    ok: int
    failed: int
    refused: int
    rate_hz: float = 0.0


@dataclass(frozen=True, slots=True)
class Moment:
    """All that the view shows."""

    story: str
    ran: timedelta
    addresses: Mapping[str, str]
    release: Release | None = None
    journal: Sequence[Entry] = ()
    counts: Counts | None = None
    """None: nothing was counted yet."""
    nodes: Sequence[NodeView] = ()
    digests: Mapping[str, str] = field(default_factory=dict)
    """What to call each digest, in the order in which they were first seen."""
    trouble: str = ""


def chain(journal: Sequence[Entry], current: Phase) -> tuple[Phase, ...]:
    """Return the phases to show: those that were entered, then the ones that would follow."""
    seen = list(dict.fromkeys(Phase(entry.phase) for entry in journal))
    if current in seen:
        seen.remove(current)
    ahead = TO_THE_FLEET[TO_THE_FLEET.index(current) + 1 :] if current in TO_THE_FLEET else ()
    return (*(phase for phase in seen if phase not in ahead), current, *ahead)


def phases(journal: Sequence[Entry], current: Phase) -> Text:
    """Draw the chain with the current phase standing out."""
    style = "bold black on dark_orange"
    if current in ENDS:
        style = _GOOD_END if current is Phase.RELEASED else _OTHER_END
    parts: list[tuple[str, str]] = []
    passed = True
    for phase in chain(journal, current):
        if phase is current:
            parts.append((f" {phase} ", style))
            passed = False
        else:
            parts.append((phase.value, "green" if passed else "bright_black"))
        parts.append((" > ", "bright_black"))
    return Text.assemble(*parts[:-1])


def line(entry: Entry) -> Text:
    """Draw one line of the journal."""
    return Text.assemble(
        (f"{entry.at:%H:%M:%S} ", "bright_black"), (f"{entry.phase:<11} ", "cyan"), entry.text
    )


def requests(counts: Counts | None) -> Text:
    """Draw what the cameras' requests came to."""
    if counts is None:
        return Text("requests: none yet", "bright_black")
    return Text.assemble(
        "requests  ",
        (f"ok {counts.ok:,}", "green"),
        (f" ({counts.rate_hz:,.0f}/s)", "bright_black"),
        "   ",
        (f"failed {counts.failed:,}", "bold white on red3" if counts.failed else "green"),
        "   ",
        (f"refused {counts.refused:,}", "dark_orange" if counts.refused else "green"),
    )


def strips(nodes: Sequence[NodeView], digests: Mapping[str, str]) -> RenderableType:
    """Draw a row of marks for each factory: mark and colour tell what the node itself reports."""
    marks = {
        digest: (_MARKS[i % len(_MARKS)], _COLOURS[i % len(_COLOURS)])
        for i, digest in enumerate(digests)
    }
    table = Table.grid(padding=(0, 2))
    ordered = sorted(nodes, key=lambda view: (view.factory, view.node))
    for factory, views in groupby(ordered, lambda view: view.factory):
        table.add_row(factory, Text(" ").join(_mark(view, marks) for view in views))
    counted = Counter[str](view.serving.digest for view in nodes if view.serving)
    legend = [
        Text.assemble((f"{mark} {digests[digest]}", colour), f": {counted[digest]}")
        for digest, (mark, colour) in marks.items()
        if counted[digest]
    ]
    return Group(table, Text("   ").join(legend))


def _mark(view: NodeView, marks: Mapping[str, tuple[str, str]]) -> Text:
    if not view.online:
        return Text("○", "bright_black")
    if view.serving is None:
        return Text("□", "bright_black")
    mark, colour = marks.get(view.serving.digest, ("?", "white"))
    ready = view.serving.ready and view.serving.self_check_passed
    return Text(mark, colour) if ready else Text("!", f"bold {colour}")


def draw(moment: Moment) -> RenderableType:
    """Draw everything."""
    parts: list[RenderableType] = []
    if moment.release is not None:
        current = moment.release
        head = f"{current.release_id}: {current.model} version {current.version}"
        parts += [Text(head, "bold"), phases(moment.journal, current.phase), Text()]
        parts += [line(entry) for entry in moment.journal[-JOURNAL_LINES:]]
        parts.append(Text())
    parts.append(requests(moment.counts))
    if moment.nodes:
        parts += [Text(), strips(moment.nodes, moment.digests)]
    if moment.trouble:
        parts += [Text(), Text(moment.trouble, "dark_orange")]
    where = Text("   ").join(
        Text.assemble((f"{name} ", "bright_black"), (url, f"link {url}"))
        for name, url in moment.addresses.items()
    )
    parts += [Text(), where]
    ran = int(moment.ran.total_seconds())
    return Panel(
        Group(*parts),
        title=Text(moment.story or "starting", "bold"),
        subtitle=f"{ran // 60}:{ran % 60:02}",
        title_align="left",
        subtitle_align="right",
        border_style="dodger_blue1",
    )
