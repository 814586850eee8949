"""Given working folders of many ages, when the centre tidies up, then what is needed stays."""

import os
from datetime import timedelta
from pathlib import Path

from edgefleet.wiring import World, installed
from flows.tidy import tidy
from tasks.records import champion_of
from tasks.workshop import CHAMPIONS, TRAINING, champion_folder
from tests.scenarios.conftest import Build

KEPT = 90


def folder(here: World, place: Path, days_old: float) -> Path:
    place.mkdir(parents=True)
    (place / "model.onnx").write_bytes(b"model")
    written = (here.clock.now() - timedelta(days=days_old)).timestamp()
    os.utime(place, (written, written))
    return place


def test_what_no_release_needs_goes_when_its_time_is_over(build: Build) -> None:
    made = build()
    here, work = made.world, made.world.work_dir
    (ended,) = here.ledger.releases()
    champion = champion_of(ended.workload)
    assert champion is not None
    needed = (
        folder(here, work / made.submit(2), KEPT + 1),
        folder(here, champion_folder(work, champion.digest), KEPT + 1),
    )
    folder(here, work / ended.release_id, 0)
    folder(here, champion_folder(work, "sha256:" + "0" * 64), KEPT + 1)
    folder(here, work / TRAINING / "first-1", KEPT + 1)
    folder(here, work / TRAINING / "first-2", KEPT - 1)
    with installed(here):
        assert tidy() == (f"{CHAMPIONS}/{'0' * 64}", f"{TRAINING}/first-1")
        assert tidy() == ()
        here.clock.sleep((KEPT + 0.5) * 24 * 3600)
        assert tidy() == (ended.release_id, f"{TRAINING}/first-2")
    assert all(place.is_dir() for place in needed)
