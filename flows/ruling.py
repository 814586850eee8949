"""HELD: a person's decision, by the command line or by a run of this flow in Prefect's pages."""

from __future__ import annotations

from prefect import flow

from edgefleet.fleet.release import Phase
from edgefleet.fleet.ruling import SIGNALS, Decided, Ruling, ruled
from edgefleet.wiring import world
from tasks.records import driving
from tasks.starts import start_release


@flow(name="decide", flow_run_name="decide {release_id}: {decided}", retries=0)
def decide(
    release_id: str, decided: Decided, name: str = "", reason: str = "", windows: int = 0
) -> None:
    """Write down what was decided about a held release, and let a driver act on it."""
    settle(release_id, decided, name, reason, windows)
    start_release(release_id)


def settle(release_id: str, decided: Decided, name: str, reason: str, windows: int) -> Ruling:
    """Move a held release on; where several drivers may be, the lease lets one of them.

    Raises:
        Refused: it is not held, or what was asked for cannot be granted.
    """
    with driving(release_id) as drive:
        asked = Ruling(decided, name, reason, windows, world().clock.now())
        ruling = ruled(drive.release, asked, drive.spec.gates.max_windows)
        number = len(drive.recall_all("ruling", Ruling)) + 1
        drive.keep("ruling", number, ruling)
        drive.move(Phase.HELD, SIGNALS[decided], ruling.in_words)
    return ruling
