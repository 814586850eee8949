"""Every 15 minutes: is each champion still as good as its release showed? If not, people are told.

Under the workload's lease, and never while a release moves its nodes. What was found is kept in the
ledger with the last window of each node that counted, so a run that dies costs nothing: the next
one counts the same windows. An alarm is told once, and again only when its cause becomes known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact

from edgefleet.edge.contract import Digest, Evidence
from edgefleet.errors import EdgefleetError, Refused
from edgefleet.fleet.alarms import Alarm, Cause, in_words, remedy
from edgefleet.fleet.book import Reading, entered
from edgefleet.fleet.guard import (
    GuardState,
    acknowledged,
    after_of,
    at_places,
    begun,
    from_now_on,
    news,
    watched,
)
from edgefleet.fleet.inventory import Inventory
from edgefleet.fleet.reconcile import in_the_way
from edgefleet.fleet.release import Phase, Release
from edgefleet.fleet.shadowing import Shadowing, shadow_ends, shadow_orders
from edgefleet.ports import Image
from edgefleet.settings import Settings
from edgefleet.spec import Spec, load_spec
from edgefleet.wiring import world
from flows.looks import AGAIN, current_window
from tasks.events import tell_alarm
from tasks.records import Drive, crowned, holding, needed
from tasks.rollbacks import in_words as in_words_of
from tasks.rollbacks import roll_back
from tasks.sites import order_shadows, take_inventory
from tasks.telemetry import collect_evidence

STATE: Final = "guard"
"""Kind of the document, of a champion's release, with where the guard over it stands."""
_SHADOWS: Final = "guard shadows"
_SETTLED: Final = 2
"""Windows after nodes were moved that do not count: the last ones were still warming up."""
_TRIES: Final = 5
"""A quarter of a lease apart: reconcile has it for a moment, every five minutes."""
_MOVED: Final = {Phase.RELEASED, Phase.ROLLED_BACK}


@dataclass(frozen=True, slots=True)
class Watched:
    """What a run found of one workload."""

    workload: str
    alarms: tuple[Alarm, ...] = ()
    """All that nobody took note of yet."""
    told: tuple[Alarm, ...] = ()
    """Those that are news."""
    unwatched: str = ""
    """Why nothing was looked at; empty: it was."""


@flow(name="guard", retries=0, persist_result=False)
def guard(acknowledge: str = "") -> tuple[Watched, ...]:
    """Watch over every workload's champion.

    `acknowledge` names a workload whose alarms somebody took note of: they begin anew.

    Raises:
        Refused: no spec is of that workload.
    """
    files = Settings().spec_files()
    known = [_workload(file) for file in files] if acknowledge else []
    if acknowledge and acknowledge not in known:
        problem = "no spec is of this workload, so nothing is acknowledged"
        raise Refused(acknowledge, problem, f"Name one of these: {', '.join(known) or 'none'}")
    return tuple(_of_file(file, acknowledge) for file in files)


def _workload(file: Path) -> str:
    """Return whose spec a file is; one that cannot be read is called after its workload."""
    try:
        return load_spec(file).workload
    except Refused:
        return file.stem


def _of_file(file: Path, acknowledge: str) -> Watched:
    """Watch over one spec file's workload; its trouble is not the other ones'."""
    try:
        spec = load_spec(file)
    except Refused as error:
        get_run_logger().error("%s", error)
        return Watched(file.stem, unwatched=str(error))
    try:
        found = _watched(spec, anew=acknowledge == spec.workload)
    except EdgefleetError as error:
        found = Watched(spec.workload, unwatched=str(error))
    get_run_logger().info("%s: %s", spec.workload, found.unwatched or f"{len(found.alarms)} alarms")
    return found


def _watched(spec: Spec, *, anew: bool) -> Watched:
    releases = world().ledger.releases(spec.workload)
    champion = crowned(releases)
    why = in_the_way(releases)
    if spec.guard.action == "off":
        why = "its spec says guard.action: off"
    elif champion is None:
        why = why or "no release of it has ended as released yet"
    if why or champion is None:
        return Watched(spec.workload, unwatched=why)
    with holding(spec.workload, tries=_TRIES) as epoch:
        return _looked(Drive(champion.release_id, epoch), spec, releases, anew=anew)


def _looked(drive: Drive, spec: Spec, releases: tuple[Release, ...], *, anew: bool) -> Watched:
    """Read what is new, let it count, tell what is news."""
    digest = needed(drive.release_id, "package", 0, Image).digest
    inventory = take_inventory(spec.workload)
    moved = next(release for release in releases if release.phase in _MOVED)
    _shadow(drive, spec, inventory, digest, moved.release_id)
    before = drive.recall(STATE, 0, GuardState) or _begun(drive, spec, inventory, digest)
    before = acknowledged(before) if anew else before
    before = from_now_on(at_places(before, spec, inventory), _first(spec, moved))
    upto = current_window(spec.gates) - 1 - AGAIN  # labels come late, and each window counts once
    now = watched(before, spec, _read(spec, inventory, before), digest, upto)
    told = news(before, now)
    for alarm in told:
        _tell(drive, spec, alarm)
    drive.keep(STATE, 0, now)
    if told or anew:
        _show(spec, now)
    return Watched(spec.workload, now.alarms, told)


def _begun(drive: Drive, spec: Spec, inventory: Inventory, digest: Digest) -> GuardState:
    """Return the state at the release's end, from what its soak and its waves read."""
    book: dict[str, tuple[Evidence, ...]] = {}
    for reading in drive.recall_all("reading", Reading).values():
        book = entered(book, reading)
    served = {
        node: tuple(record for record in records if record.digest == digest)
        for node, records in book.items()
    }
    factories = {view.node: view.factory for view in inventory.nodes}
    return begun(spec, served, digest, factories)


def _read(spec: Spec, inventory: Inventory, state: GuardState) -> dict[str, tuple[Evidence, ...]]:
    online = {view.node for view in inventory.nodes if view.online} & state.factories.keys()
    return dict(collect_evidence(spec.workload, spec.gates.window_s, after_of(state, online)))


def _first(spec: Spec, moved: Release) -> int:
    """Return the first window in which nodes were at rest."""
    return math.ceil(moved.changed_at.timestamp() / spec.gates.window_s) + _SETTLED


def _shadow(drive: Drive, spec: Spec, inventory: Inventory, digest: Digest, moved: str) -> None:
    """Let the model before answer a sample again, for some days; then no more."""
    known = drive.recall(_SHADOWS, 0, Shadowing) or Shadowing()
    age = world().clock.now() - drive.release.changed_at
    rate = spec.guard.shadow_rate if spec.gates.accuracy.source != "none" else 0.0
    if rate and age < timedelta(days=spec.guard.shadow_days):
        now, orders = shadow_orders(known, spec, inventory, digest, drive.release_id, moved)
    else:
        now, orders = shadow_ends(known, inventory)
    if orders:
        order_shadows(spec.workload, orders)
    if now != known:
        drive.keep(_SHADOWS, 0, now)


def _tell(drive: Drive, spec: Spec, alarm: Alarm) -> None:
    """Write an alarm down, and tell people; first of all: told twice is better than never."""
    found = in_words(alarm, spec.gates.window_s)
    what = _acted(spec, alarm, found) or remedy(alarm, spec.workload)
    lost = tell_alarm(spec.workload, found, what)
    said = f"guard: {found}. {what}"
    drive.note(f"{said} (nobody was told: {lost})" if lost else said)
    get_run_logger().warning("%s: %s", spec.workload, said)


def _acted(spec: Spec, alarm: Alarm, found: str) -> str:
    """Go back where the spec lets us and the model is to blame; return what was set going.

    Before the alarm is stored: a run that dies in between does it again, which is the same.
    """
    if spec.guard.action != "perform" or alarm.cause is not Cause.MODEL:
        return ""
    try:
        back = roll_back(
            spec.workload, found, "guard", factories=alarm.factories, nodes=alarm.nodes
        )
    except Refused as error:
        get_run_logger().warning("%s: %s", spec.workload, error)
        return ""
    return f"Going back: {in_words_of(back)}"


def _show(spec: Spec, state: GuardState) -> None:
    """Publish all alarms of a workload as a Prefect artifact."""
    lines = [
        f"- {in_words(alarm, spec.gates.window_s)}.\n  {remedy(alarm, spec.workload)}"
        for alarm in state.alarms
    ]
    create_markdown_artifact(
        key=f"guard-{spec.workload}".lower(),
        markdown="\n".join((f"# Guard over {spec.workload}", "", *(lines or ["No alarm."]))),
        description=f"{len(lines)} alarms",
    )
