"""Following a release from a terminal until it ends, whoever dies meanwhile.

A driver that died is replaced; while the ledger or Prefect is away it is said once, and waited.
"""

from __future__ import annotations

import time

from edgefleet import wiring
from edgefleet.cli.output import ERR, OUT
from edgefleet.errors import Unreachable
from edgefleet.fleet.release import Phase, Release
from edgefleet.ports import Entry
from tasks.drivers import start_missing

_POLL_S = 0.5


def followed(release_id: str, *, quiet: bool) -> Release:
    """Return a release once it ends or only a person can move it, and print its journal till then.

    Quiet: only what it waits for is said, on standard error.
    """
    told_so_far, away = 0, False
    while True:
        try:
            current, lines = _read(release_id)
            if not quiet:
                for entry in lines[told_so_far:]:
                    OUT.print(journal_line(entry))
            told_so_far = len(lines)
            if not current.live or current.phase is Phase.HELD:
                return current
            start_missing()
            away = False
        except Unreachable as error:
            if not away:
                ERR.print(f"waiting: {error}", highlight=False)
            away = True
        time.sleep(_POLL_S)


def journal_line(entry: Entry) -> str:
    """Return a line of the journal as the terminal shows it."""
    return f"{entry.at:%H:%M:%S} [cyan]{entry.phase:<11}[/cyan] {entry.text}"


def _read(release_id: str) -> tuple[Release, tuple[Entry, ...]]:
    ledger = wiring.world().ledger
    return ledger.release(release_id), ledger.journal(release_id)
