"""The looks after each later wave: against the holdback, each written down before it counts.

Nothing found within the windows that the spec gives a wave lets the roll-out go on: the canary has
passed already, and this looks for what only shows in numbers. A wave of which too little is heard
is not looked at: it is waited for as long as a soak may take, and then a person decides.
"""

from __future__ import annotations

from typing import NamedTuple

from edgefleet.fleet.finding import Outcome, Verdict
from edgefleet.fleet.plan import Plan
from edgefleet.fleet.release import Signal
from edgefleet.fleet.ruling import Ruling, most_windows
from edgefleet.fleet.sheets import Sheets
from edgefleet.fleet.waves import WaveDesign, judge_wave, unheard, wave_design
from flows.looks import current_window, next_look
from tasks.records import Drive, champion_of

_PER_WAVE = 1000
"""Looks are numbered through all waves."""


class Watched(NamedTuple):
    """What the looks at a wave came to."""

    signal: Signal | None
    """None: the roll-out goes on."""
    words: str


def watch_wave(drive: Drive, made: Plan, index: int, changed: frozenset[str]) -> Watched:
    """Look at the nodes of a wave that were changed; whoever comes after a killed driver goes on.

    Without a holdback, for the holdback itself, and where nothing was changed, there is nothing to
    compare: the roll-out goes on, without words.
    """
    holdback = made.waves[-1] if made.waves[-1].name == "holdback" else None
    nodes = tuple(c.node for c in made.waves[index].changes if c.node in changed)
    last = index == len(made.waves) - 1
    if holdback is None or last or not drive.spec.waves.windows or not nodes:
        return Watched(None, "")
    first = drive.recall("wave begun", index, int)
    if first is None:
        first = current_window(drive.spec.gates) + 1
        drive.keep("wave begun", index, first)
    if _overridden(drive, first):
        return Watched(None, "not judged: overridden")
    kept = tuple(change.node for change in holdback.changes)
    return _looked(drive, made, index, _design(drive, made, nodes, kept, first))


def _looked(drive: Drive, made: Plan, index: int, wave: WaveDesign) -> Watched:
    gates, first = drive.spec.gates, wave.design.first_window
    most = most_windows(gates.max_windows, drive.recall_all("ruling", Ruling))
    looks = _taken(drive, index, wave.looks)
    sheets = Sheets(wave.design)  # what came before the wave was changed does not concern it
    window = looks[-1].window if looks else first - 1
    while not _over(looks, wave.looks) and not drive.release.abort_asked:
        window = next_look(drive, made, gates, sheets, window + 1, first)
        sheet = sheets.until(window)
        silent = unheard(sheet, gates)
        if silent and window - first + 1 >= most:
            return Watched(Signal.UNSURE, f"{silent} in {window - first + 1} windows")
        if not silent:
            looks.append(judge_wave(wave, gates, sheet, window, len(looks) + 1))
            drive.keep("wave look", _PER_WAVE * index + len(looks), looks[-1])
    if not looks:
        return Watched(None, "not judged: to be aborted")
    signal = Signal.FAILED if looks[-1].outcome is Outcome.FAIL else None
    return Watched(signal, looks[-1].reason)


def _over(looks: list[Verdict], most: int) -> bool:
    return len(looks) >= most or bool(looks and looks[-1].outcome is Outcome.FAIL)


def _taken(drive: Drive, index: int, most: int) -> list[Verdict]:
    numbers = range(_PER_WAVE * index + 1, _PER_WAVE * index + most + 1)
    found = (drive.recall("wave look", number, Verdict) for number in numbers)
    return [verdict for verdict in found if verdict is not None]


def _overridden(drive: Drive, first: int) -> bool:
    """Say whether somebody has decided to go on since the looks at a wave began."""
    began_s = first * drive.spec.gates.window_s
    rulings = drive.recall_all("ruling", Ruling).values()
    return any(r.decided == "override" and r.at.timestamp() > began_s for r in rulings)


def _design(
    drive: Drive, made: Plan, nodes: tuple[str, ...], holdback: tuple[str, ...], first: int
) -> WaveDesign:
    champion = champion_of(drive.spec.workload)
    if champion is None:
        message = f"{drive.release_id}: a wave is judged against a holdback, and there is none"
        raise AssertionError(message)
    return wave_design(
        drive.spec.gates,
        changed=nodes,
        holdback=holdback,
        want=made.want,
        was=champion.digest,
        first=first,
        looks=drive.spec.waves.windows,
        waves=len(made.waves) - 2,
    )
