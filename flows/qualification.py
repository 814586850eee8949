"""QUALIFYING: from a registered version to a signed package in the store."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from edgefleet.fleet.release import Phase, Signal
from edgefleet.wiring import world
from tasks.records import Drive, champion_of
from tasks.registry import (
    describe_package,
    fetch_model,
    fetch_package,
    push_package,
    qualify_model,
)
from tasks.workshop import champion_folder


@flow(name="qualify", flow_run_name="qualify {release_id}", retries=0)
def qualify(release_id: str, epoch: int) -> None:
    """Quantize, evaluate, package, sign and push the release's version."""
    drive = Drive(release_id, epoch)
    current = drive.release
    folder = world().work_dir / release_id
    submission = folder / "submission"
    fetch_model(current.model, current.version, submission)
    champion = _champion_package(current.workload)
    found = qualify_model(submission, current.version, drive.spec, folder, champion)
    drive.keep("qualification", 0, found)
    digest = push_package(Path(found.package), f"{current.model}-{current.version}-{release_id}")
    drive.keep("package", 0, describe_package(digest))
    drive.move(Phase.QUALIFYING, Signal.DONE, found.reason)


def _champion_package(workload: str) -> Path | None:
    """Return the champion's unpacked package; None for a workload's first release."""
    champion = champion_of(workload)
    if champion is None:
        return None
    folder = champion_folder(world().work_dir, champion.digest)
    if not folder.exists():
        draft = folder.with_suffix(".draft")  # killed on the way, it must not look whole
        fetch_package(champion.digest, draft)
        draft.rename(folder)
    return folder
