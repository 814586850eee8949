"""The model registry and the package store."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Final

from prefect import get_run_logger, task

from edgefleet.edge.contract import Digest
from edgefleet.errors import Refused, Unreachable
from edgefleet.fleet.release import Phase, Release
from edgefleet.model.qualify import Qualification, figures, qualify
from edgefleet.model.signature import KEY_FILE
from edgefleet.ports import Image
from edgefleet.spec import Spec
from edgefleet.wiring import world
from tasks.policy import OUTSIDE, PATIENCE_S
from tasks.records import recall
from tasks.workshop import champion_folder

_LAST_WORD_TRIES: Final = 12


@task(name="fetch model", **OUTSIDE)
def fetch_model(model: str, version: str, folder: Path) -> None:
    """Download a version's submission."""
    world().models.fetch(model, version, folder)


@task(name="quantize, validate, package, sign", **OUTSIDE)
def qualify_model(
    submission: Path, version: str, spec: Spec, folder: Path, champions: tuple[Path, ...]
) -> Qualification:
    """Return the finished, signed package of a registered version, and what was found."""
    key = world().key_dir / KEY_FILE
    return qualify(submission, spec, folder, key, champions, time.monotonic, version)


@task(name="push package", **OUTSIDE)
def push_package(package: Path, tag: str) -> Digest:
    """Store the package and return its digest."""
    return world().images.push(package, tag)


@task(name="describe package", **OUTSIDE)
def describe_package(digest: Digest) -> Image:
    """Return the layers with their sizes."""
    return world().images.describe(digest)


@task(name="fetch package", **OUTSIDE)
def fetch_package(digest: Digest, folder: Path) -> None:
    """Unpack a package, every byte checked."""
    world().images.fetch(digest, folder)


def unpacked(digest: Digest) -> Path:
    """Return the folder of a package from the store; fetched once."""
    folder = champion_folder(world().work_dir, digest)
    if not folder.exists():
        draft = folder.with_suffix(".draft")  # killed on the way, it must not look whole
        shutil.rmtree(draft, ignore_errors=True)  # nor leave a file that nobody signed
        fetch_package(digest, draft)
        draft.rename(folder)
    return folder


def publish(current: Release) -> None:
    """Write what became of the version to the registry: a copy, so its loss delays nobody.

    The last word about a release is tried again for a minute: nobody else would write it.
    """
    for left in reversed(range(1 if current.live else _LAST_WORD_TRIES)):
        try:
            _write(current)
        except (Unreachable, Refused) as error:
            if not left or isinstance(error, Refused):
                get_run_logger().warning("%s: tags not written: %s", current.release_id, error)
                return
            world().clock.sleep(PATIENCE_S)
        else:
            return


def _write(current: Release) -> None:
    tags = {"state": current.phase.value, "by": current.release_id, **_measured(current)}
    named = {f"edgefleet.{name}": value for name, value in tags.items()}
    world().models.record(current.model, current.version, named)
    if current.phase is Phase.RELEASED:
        world().models.alias(current.model, "champion", current.version)


def _measured(current: Release) -> dict[str, str]:
    """Return what the lab found: told when it is new, and again with the last word."""
    if current.live and current.phase is not Phase.PLANNED:
        return {}
    found = recall(current.release_id, "qualification", 0, Qualification)
    return figures(found) if found else {}
