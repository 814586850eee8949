"""QUALIFYING: from a registered version to a signed package in the store, or one that is there."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from edgefleet.errors import Refused
from edgefleet.fleet.attempts import goes_back_to
from edgefleet.fleet.release import Phase, Signal
from edgefleet.model.qualify import Qualification
from edgefleet.ports import Image
from edgefleet.wiring import world
from tasks.records import Drive, champion_of, needed
from tasks.registry import (
    describe_package,
    fetch_model,
    fetch_package,
    push_package,
    qualify_model,
)


@flow(name="qualify", flow_run_name="qualify {release_id}", retries=0)
def qualify(release_id: str, epoch: int) -> None:
    """Quantize, evaluate, package, sign and push the release's version."""
    drive = Drive(release_id, epoch)
    current = drive.release
    back = goes_back_to(current)
    if back:
        _take_over(drive, back)
        return
    folder = world().work_dir / release_id
    submission = folder / "submission"
    fetch_model(current.model, current.version, submission)
    champion = _champion_package(current.workload)
    found = qualify_model(submission, current.version, drive.spec, folder, champion)
    drive.keep("qualification", 0, found)
    digest = push_package(Path(found.package), f"{current.model}-{current.version}-{release_id}")
    drive.keep("package", 0, describe_package(digest))
    drive.move(Phase.QUALIFYING, Signal.DONE, found.reason)


def _take_over(drive: Drive, back: str) -> None:
    """Ship the package of an earlier release as it is: it was measured and signed then.

    Raises:
        Refused: that one is of another version, or its package is not kept any more.
    """
    current, earlier = drive.release, world().ledger.release(back)
    ours = (current.workload, current.model, current.version)
    if ours != (earlier.workload, earlier.model, earlier.version):
        problem = f"is to ship what {back} did, which is {earlier.model} {earlier.version}"
        raise Refused(drive.release_id, problem, "Ask with `edgefleet rollback`")
    image = describe_package(needed(back, "package", 0, Image).digest)
    drive.keep("qualification", 0, needed(back, "qualification", 0, Qualification))
    drive.keep("package", 0, image)
    drive.move(
        Phase.QUALIFYING, Signal.DONE, f"the package of {back} as it is: {image.digest[:19]}"
    )


def _champion_package(workload: str) -> Path | None:
    """Return the champion's unpacked package; None for a workload's first release."""
    champion = champion_of(workload)
    if champion is None:
        return None
    folder = world().work_dir / "champions" / champion.digest.removeprefix("sha256:")
    if not folder.exists():
        fetch_package(champion.digest, folder)
    return folder
