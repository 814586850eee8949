"""One look: wait until a window is over, read the nodes' windows, keep them, enter them."""

from __future__ import annotations

import math
from typing import Final

from edgefleet.errors import Unreachable
from edgefleet.fleet.book import Reading, reported
from edgefleet.fleet.design import Design
from edgefleet.fleet.plan import Plan
from edgefleet.fleet.sheets import Sheets
from edgefleet.spec import Gates
from edgefleet.wiring import world
from tasks.records import Drive
from tasks.sites import all_out_of_reach
from tasks.telemetry import collect_evidence

ENOUGH_REPORTED: Final = 0.9
LONGEST_WAIT_S: Final = 180.0
"""A window is looked at when 90 % of the online nodes have reported it, or after three minutes."""
AGAIN: Final = 5
"""Windows before the newest that are read again, for labels that came late."""
ALL_AGAIN: Final = 10
"""Every so many windows all are read again: a node that was cut off tells later what it did."""
_GRACE: Final = 0.25
"""Share of a window that nodes are given to close and write it."""


def current_window(gates: Gates) -> int:
    """Return the number of the window that is open now."""
    return math.floor(world().clock.now().timestamp() / gates.window_s)


def begun_sheets(drive: Drive, design: Design, after: int) -> Sheets:
    """Return what is known already: the readings in the ledger, else the nodes' spools."""
    sheets = Sheets(design)
    stored = False
    for _, reading in drive.each("reading", Reading):
        sheets.enter(reading.records, reading.after)
        stored = True
    if not stored:
        reading = _read(drive, after)
        drive.keep("reading", 0, reading)  # the past of every node: a resumed driver needs it too
        sheets.enter(reading.records, reading.after)
    return sheets


def next_look(drive: Drive, made: Plan, gates: Gates, sheets: Sheets, due: int, first: int) -> int:
    """Wait until a window is over, `due` or a later one; enter it, and return its number.

    `first`: the first window that concerns whoever looks.

    Raises:
        Unreachable: the whole fleet is silent, see `all_out_of_reach`: wait, and count no look.
    """
    clock = world().clock
    window = max(due, current_window(gates) - 1)
    over_s = (window + 1 + _GRACE) * gates.window_s
    clock.sleep(max(over_s - clock.now().timestamp(), 0.0))
    while True:
        reading = _read(drive, _after(window, due, first))
        online = [n for n in made.eligible if n in reading.records]
        waited_s = clock.now().timestamp() - over_s
        wait_s = min(LONGEST_WAIT_S, 3 * gates.window_s)
        if reported(online, reading, window) >= ENOUGH_REPORTED or waited_s > wait_s:
            break
        del reading  # of a large fleet two at a time are a hundred megabytes
        clock.sleep(gates.window_s * _GRACE)
    if not online and all_out_of_reach(drive.spec.workload):
        raise Unreachable(f"none of the {len(made.eligible)} nodes can be reached")
    drive.keep("reading", window, reading)
    sheets.enter(reading.records, reading.after)
    return window


def _after(window: int, due: int, first: int) -> int:
    if window % ALL_AGAIN == 0:
        return first - 1
    # To the window that was due at least: a driver may have been away, or a person been asked.
    return min(window - AGAIN, due) - 1


def _read(drive: Drive, after: int) -> Reading:
    spec = drive.spec
    return Reading(after, collect_evidence(spec.workload, spec.gates.window_s, after))
