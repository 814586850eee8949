"""QUALIFYING: from a registered version to a signed package in the store, or one that is there."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from edgefleet.errors import Refused
from edgefleet.fleet.attempts import goes_back_to, rebases
from edgefleet.fleet.release import Phase, Release, Signal
from edgefleet.model.qualify import Qualification
from edgefleet.model.yardstick import MOST
from edgefleet.ports import Image
from edgefleet.wiring import world
from tasks.records import Drive, champions_of, crowned_by, needed
from tasks.registry import (
    describe_package,
    fetch_model,
    push_package,
    qualify_model,
    unpacked,
)


@flow(name="qualify", flow_run_name="qualify {release_id}", retries=0)
def qualify(release_id: str, epoch: int) -> None:
    """Quantize, evaluate, package, sign and push the release's version."""
    drive = Drive(release_id, epoch)
    current = drive.release
    if back := goes_back_to(current):
        _take_over(drive, back)
        return
    if champion_id := rebases(current):
        _rebase(drive, champion_id)
        return
    folder = world().work_dir / release_id
    submission = folder / "submission"
    fetch_model(current.model, current.version, submission)
    found = qualify_model(submission, current.version, drive.spec, folder, _champions(drive))
    for left_out in found.against.left_out if found.against else ():
        drive.note(f"not compared with {left_out}")
    drive.keep("qualification", 0, found)
    digest = push_package(Path(found.package), _tag(current))
    drive.keep("package", 0, describe_package(digest))
    drive.move(Phase.QUALIFYING, Signal.DONE, found.reason)


def _take_over(drive: Drive, back: str) -> None:
    """Ship the package of an earlier release as it is: it was measured and signed then.

    Raises:
        Refused: that one is of another version, or its package is not kept any more.
    """
    found = _found_by(drive, back)
    image = describe_package(needed(back, "package", 0, Image).digest)
    drive.keep("qualification", 0, found)
    drive.keep("package", 0, image)
    words = f"the package of {back} as it is: {image.digest[:19]}"
    drive.move(Phase.QUALIFYING, Signal.DONE, words)


def _rebase(drive: Drive, champion_id: str) -> None:
    """Ship the champion's model as it was measured and signed, on the base image of today.

    Raises:
        Refused: another one is champion by now, or it has that base already.
    """
    current = drive.release
    crowned = crowned_by(current.workload)
    if crowned is None or crowned.release_id != champion_id:
        now = crowned.release_id if crowned else "none"
        problem = f"is a new base for {champion_id}, and the champion is {now} by now"
        raise Refused(drive.release_id, problem, "Ask again with --base-only")
    found = _found_by(drive, champion_id)
    was = needed(champion_id, "package", 0, Image)
    digest = push_package(unpacked(was.digest), _tag(current))
    if digest == was.digest:
        problem = f"champion {champion_id} is on the current base image already ({digest[:19]})"
        raise Refused(drive.release_id, problem, "Push another base image first")
    drive.keep("qualification", 0, found)
    drive.keep("package", 0, describe_package(digest))
    words = f"the model of {champion_id} on the current base image: {digest[:19]}"
    drive.move(Phase.QUALIFYING, Signal.DONE, words)


def _found_by(drive: Drive, earlier_id: str) -> Qualification:
    """Return what was measured for an earlier release of the same version."""
    current, earlier = drive.release, world().ledger.release(earlier_id)
    ours = (current.workload, current.model, current.version)
    if ours != (earlier.workload, earlier.model, earlier.version):
        problem = f"is to ship what {earlier_id} did, which is {earlier.model} {earlier.version}"
        raise Refused(
            drive.release_id, problem, "Ask again, by `edgefleet rollback` or --base-only"
        )
    return needed(earlier_id, "qualification", 0, Qualification)


def _champions(drive: Drive) -> tuple[Path, ...]:
    """Return the unpacked packages of today's champion and of those before it, newest first.

    One before it that is not kept any more is left out, and the journal says so.
    """
    folders = []
    for nth, image in enumerate(champions_of(drive.release.workload, MOST)):
        try:
            folders.append(unpacked(image.digest))
        except Refused as gone:
            if nth == 0:
                raise
            drive.note(f"not compared with an earlier champion: {gone}")
    return tuple(folders)


def _tag(release: Release) -> str:
    return f"{release.model}-{release.version}-{release.release_id}"
