"""PREPULLING, CANARY, ROLLING and REVERTING: what moves nodes, one task for each factory.

A wave is written into the ledger before its first order, so whoever comes after a killed driver
knows which nodes may have been touched.
"""

from __future__ import annotations

from typing import Any, Final, cast

from prefect import flow
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from edgefleet.fleet.plan import Plan
from edgefleet.fleet.release import Phase, Signal
from edgefleet.fleet.stage import (
    Fate,
    counted,
    done,
    in_words,
    none_tried,
    of_fate,
    too_many_failed,
)
from edgefleet.model.signature import check_trusted
from edgefleet.wiring import world
from flows.changing import Reports, change_all, change_in_windows
from flows.looks import current_window
from flows.soak import end_shadows
from flows.wave_looks import watch_wave
from tasks.policy import FACTORIES_AT_ONCE
from tasks.records import Drive, approved_plan
from tasks.registry import unpacked
from tasks.sites import let_go_in, prepull_in, take_patient_inventory

REVERT_TRIES: Final = 3
"""After so many, nodes that could not be brought back are named and left to reconcile."""

_RUNNER: Final = cast(
    "TaskRunner[PrefectFuture[Any]]", ThreadPoolTaskRunner[Any](max_workers=FACTORIES_AT_ONCE)
)


@flow(name="prepull", flow_run_name="prepull {release_id}", retries=0, task_runner=_RUNNER)
def prepull(release_id: str, epoch: int) -> None:
    """Bring the package to every node of the plan, gently; a node without it is left out.

    Raises:
        Refused: the nodes would refuse it on arrival, and no WAN has carried it yet.
    """
    drive = Drive(release_id, epoch)
    made, spec = approved_plan(release_id), drive.spec
    check_trusted(unpacked(made.want), world().ground.trust_dir, made.want)
    drive.keep("pulling", 0, made.want)  # first: what was begun has to be given back
    futures = [
        prepull_in.submit(factory, spec.workload, tuple(nodes), made.want, spec.prepull)
        for factory, nodes in sorted(made.nodes_of.items())
    ]
    reports = tuple(future.result() for future in futures)
    drive.keep("pulls", 0, reports)
    problem = none_tried(reports) or too_many_failed(reports, spec.waves.max_failed)
    moved_mb = sum(report.wan_bytes for report in reports) / 1e6
    if problem:
        drive.move(Phase.PREPULLING, Signal.REFUSED, f"pre-pull: {problem}")
    else:
        words = f"{counted(reports)}; {moved_mb:.1f} MB over {len(reports)} factories' WAN"
        drive.move(Phase.PREPULLING, Signal.DONE, words)


@flow(name="canary", flow_run_name="canary {release_id}", retries=0, task_runner=_RUNNER)
def change_canary(release_id: str, epoch: int) -> None:
    """Change the canary's nodes; too many that fail send everything back."""
    drive = Drive(release_id, epoch)
    gates = drive.spec.gates
    if drive.recall("changed from", 0, int) is None:
        drive.keep("changed from", 0, current_window(gates))
    reports = _change_wave(drive, approved_plan(release_id), 0)
    if drive.release.abort_asked:
        return  # the driver acts on it before its next step
    problem = none_tried(reports) or too_many_failed(reports, drive.spec.waves.max_failed)
    signal = Signal.FAILED if problem else Signal.DONE
    drive.move(Phase.CANARY, signal, f"canary: {problem or counted(reports)}")


@flow(name="roll", flow_run_name="roll {release_id}", retries=0, task_runner=_RUNNER)
def roll(release_id: str, epoch: int) -> None:
    """Change the waves after the canary one by one, each judged against the holdback."""
    drive = Drive(release_id, epoch)
    made, spec = approved_plan(release_id), drive.spec
    end_shadows(drive)  # accuracy was judged at the canary: a second inference would only cost
    for index in range(1, len(made.waves)):
        if drive.recall("judged", index, str) is not None:
            continue
        if drive.release.abort_asked:
            return  # the driver acts on it before its next step
        reports = _change_wave(drive, made, index)
        since = drive.release
        if since.abort_asked:
            return  # as above: it may have ended a wait for a maintenance window
        name = made.waves[index].name
        problem = too_many_failed(reports, spec.waves.max_failed)
        if problem:
            drive.move(Phase.ROLLING, Signal.FAILED, f"{name}: {problem}")
            return
        found = watch_wave(drive, made, index, done(reports))
        if found.signal:
            drive.move(Phase.ROLLING, found.signal, f"{name}: {found.words}")
            return
        words = "; ".join(filter(None, (counted(reports), found.words)))
        drive.note(f"{name}: {words}")  # first: a line twice is better than none
        drive.keep("judged", index, name)
    _close(drive, made)


@flow(name="revert", flow_run_name="revert {release_id}", retries=0, task_runner=_RUNNER)
def revert(release_id: str, epoch: int) -> None:
    """Bring every node that may have been touched back to what it had."""
    drive = Drive(release_id, epoch)
    made = approved_plan(release_id)
    end_shadows(drive)
    undo = [
        change.undo(epoch)
        for index, wave in enumerate(made.waves)
        if drive.recall("ordered", index, str) is not None
        for change in wave.changes
    ]
    tries = drive.recall("revert tries", 0, int) or 0
    drive.keep("revert tries", 0, tries + 1)
    reports = change_all(drive, undo)
    drive.keep("reverted", tries, reports)
    nodes = [node for report in reports for node in report.nodes]
    if of_fate(nodes, Fate.FAILED) and tries + 1 < REVERT_TRIES:
        drive.note(in_words("not all are back yet", nodes))
        return  # the driver comes again
    drive.move(Phase.REVERTING, Signal.DONE, in_words("back on what they had", nodes))


def let_go(drive: Drive) -> None:
    """Give nodes back the room of a package that was brought to them; done again, it does nothing.

    A factory that does not answer keeps it: that costs disk, and nothing else.
    """
    if drive.recall("pulling", 0, str) is None:
        return
    made = approved_plan(drive.release_id)
    futures = [
        let_go_in.submit(factory, tuple(nodes), made.want)
        for factory, nodes in sorted(made.nodes_of.items())
    ]
    for future in futures:
        future.wait()


def _change_wave(drive: Drive, made: Plan, index: int) -> Reports:
    """Order one wave, written down first; nodes to which no image came are left out."""
    wave = made.waves[index]
    have = done(drive.recall("pulls", 0, Reports) or ())
    drive.keep("ordered", index, wave.name)
    pins = world().ledger.pins(made.workload)  # since the plan was made, too
    changes = [change for change in wave.changes if change.node in have and change.node not in pins]
    reports = change_in_windows(drive, wave.name, changes)
    drive.keep("changed", index, reports)
    return reports


def _close(drive: Drive, made: Plan) -> None:
    """Count who serves it, by the nodes' own word, and end or hold the release."""
    views = {view.node: view for view in take_patient_inventory(drive.spec.workload).nodes}
    planned = {change.node for wave in made.waves for change in wave.changes}
    fleet = planned | {out.node for out in made.left_out if out.kind == "deferred"}
    fleet -= world().ledger.pins(made.workload).keys()
    late = sorted(n for n in fleet if n not in views or not views[n].serves(made.want))
    most = drive.spec.max_deferred
    words = f"{len(fleet) - len(late)} nodes serve {made.want[:19]}"
    if late:
        words += f"; {len(late)} later: {', '.join(late[:8])}"
    if len(late) > most * len(fleet):
        words += f" (more than {most:.0%} of the fleet)"
        drive.move(Phase.ROLLING, Signal.UNSURE, words)
    else:
        drive.move(Phase.ROLLING, Signal.DONE, words)
