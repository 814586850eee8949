"""The centre's working folders: what they hold that nobody needs any more is dropped."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path

from edgefleet.edge.contract import Digest

CHAMPIONS = "champions"
"""Folder, in the world's working folder, with packages that new versions are compared with."""
TRAINING = "training"
"""Folder with what the training flow wrote before it was registered."""


def champion_folder(work: Path, digest: Digest) -> Path:
    """Return where a champion's unpacked package lies, or is to lie."""
    return work / CHAMPIONS / digest.removeprefix("sha256:")


def dropped(
    work: Path,
    spent: Collection[str],
    champions: Collection[Digest],
    now: datetime,
    keep: timedelta,
) -> tuple[str, ...]:
    """Remove folders of `spent` releases, of other champions, and of training; return which.

    Of the last two only what nobody wrote for `keep`.
    """
    kept = {champion_folder(work, digest) for digest in champions}
    old = [
        folder
        for place in (work / CHAMPIONS, work / TRAINING)
        if place.is_dir()
        for folder in place.iterdir()
        if folder not in kept and now - _written(folder) > keep
    ]
    gone = [folder for name in spent if (folder := work / name).is_dir()]
    for folder in (*gone, *old):
        shutil.rmtree(folder)
    return tuple(sorted(str(folder.relative_to(work)) for folder in (*gone, *old)))


def _written(folder: Path) -> datetime:
    return datetime.fromtimestamp(folder.stat().st_mtime, UTC)
