"""Changing many nodes: one task for each factory, side by side, each in its maintenance window.

A closed window defers no node, its wave waits; the way back waits for none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from edgefleet.calendars import MaintenanceWindow
from edgefleet.errors import Unreachable
from edgefleet.fleet.inventory import Change
from edgefleet.fleet.maintenance import closes_at, is_open, opens_at
from edgefleet.fleet.stage import (
    CLOSED,
    NodeReport,
    StageReport,
    none_tried,
    not_begun,
)
from edgefleet.wiring import world
from tasks.records import Drive
from tasks.sites import all_out_of_reach, change_in

Reports = tuple[StageReport, ...]

_LOOK_S: Final = 30.0
"""So often whoever waits for a window asks whether an abort is wanted."""


def change_all(
    drive: Drive, changes: Sequence[Change], closing: Mapping[str, datetime | None] | None = None
) -> Reports:
    """Change nodes in all factories under the driver's epoch; `closing`: by when one has to begin.

    Raises:
        Unreachable: the whole fleet is silent, see `all_out_of_reach`: wait.
    """
    ends = closing or {}
    of_factory: dict[str, list[Change]] = defaultdict(list)
    for change in changes:
        of_factory[change.factory].append(replace(change, epoch=drive.epoch))
    futures = [
        change_in.submit(factory, tuple(orders), drive.spec.waves, ends.get(factory))
        for factory, orders in sorted(of_factory.items())
    ]
    reports = tuple(future.result() for future in futures)
    if changes and none_tried(reports) and all_out_of_reach(drive.spec.workload):
        raise Unreachable(f"{none_tried(reports)}, and nobody else of the fleet either")
    return reports


def change_in_windows(drive: Drive, name: str, changes: Sequence[Change]) -> Reports:
    """Change a wave's nodes, each while its factory's window is open; wait for those that are not.

    An abort ends the waiting: whom it found waiting is deferred.
    """
    windows, clock = drive.spec.maintenance, world().clock
    ended: dict[str, NodeReport] = {}
    waiting = list(changes)
    while waiting and not drive.release.abort_asked:
        now = clock.now()
        ready = [change for change in waiting if is_open(windows, change.factory, now)]
        if not ready:
            _wait(drive, name, windows, waiting)
            continue
        closing = {c.factory: closes_at(windows, c.factory, now) for c in ready}
        reports = change_all(drive, ready, closing)
        ended |= {n.node: n for report in reports for n in report.nodes if n.reason != CLOSED}
        waiting = [change for change in waiting if change.node not in ended]
    ended |= {change.node: not_begun(change) for change in waiting}
    of_factory: dict[str, list[NodeReport]] = defaultdict(list)
    for change in changes:
        of_factory[change.factory].append(ended[change.node])
    return tuple(
        StageReport(factory, "change", tuple(nodes))
        for factory, nodes in sorted(of_factory.items())
    )


def _wait(
    drive: Drive, name: str, windows: Sequence[MaintenanceWindow], waiting: Sequence[Change]
) -> None:
    """Sleep until the first window opens, or an abort is asked for; say what is waited for."""
    clock = world().clock
    now = clock.now()
    opening = {c.factory: opens_at(windows, c.factory, now) or now for c in waiting}
    first = min(opening.values())
    times = ", ".join(
        f"{name} opens at {at:%Y-%m-%d %H:%M}" for name, at in sorted(opening.items())
    )
    drive.note(f"{name} waits for its maintenance windows to open: {times} UTC")
    while (left_s := (first - clock.now()).total_seconds()) > 0 and not drive.release.abort_asked:
        clock.sleep(min(left_s, _LOOK_S))
