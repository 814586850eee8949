"""Cameras count every request, send more while a node changes, and QA answers what is asked."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from edgefleet.adapters.scrape import Scrape
from edgefleet.edge.contract import ShadowOrder
from edgefleet.plant.config import PlantConfig
from edgefleet.plant.floor import NOW_FILE, Floor, Now
from edgefleet.plant.parts import Parts, surface_parts
from edgefleet.plant.record import FOLDER, Counts, read
from tests.adapters.local_fleet import WORKLOAD, Shelf, fleet, make_shelf, passed
from tests.edge.tiny import BRIGHT, DARK, NAME, wait_for

PARTS = Parts((DARK, BRIGHT), ("ok", "dent"))


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return make_shelf(tmp_path_factory.mktemp("shelf"))


@contextmanager
def plant(root: Path, **changes: object) -> Iterator[None]:
    settings = {"busy_after_s": 1.0, "label_delay_s": 0.1, "wanted_every_s": 0.5, **changes}
    config = msgspec.convert(
        {"root": str(root), "workload": WORKLOAD, "model": NAME, **settings}, PlantConfig
    )
    loop = asyncio.new_event_loop()
    end = asyncio.Event()
    broken: list[BaseException] = []

    def run() -> None:
        try:
            loop.run_until_complete(Floor(config, lambda _factory: PARTS).run(end))
        except BaseException as error:  # noqa: BLE001 - carried to the test's thread
            broken.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join(10)
        loop.close()
    assert broken == []


def now(root: Path) -> Now:
    file = root / FOLDER / NOW_FILE
    if not file.exists():
        return Now(time=0, cameras=0, ok=0, failed=0, refused=0, labels=0, rate_hz=0)
    return msgspec.json.decode(file.read_bytes(), type=Now)


def test_no_image_is_lost_around_cutovers_and_the_camera_is_busy_there(
    tmp_path: Path, shelf: Shelf
) -> None:
    root = tmp_path / "fleet"
    with fleet(root, shelf, nodes=2, cutover_lead_s=1.0) as local, plant(root):
        for node in ("n1", "n2"):
            local.serve(node, shelf.old)
            local.bring(node, shelf.new)
        wait_for(lambda: now(root).ok > 4, "cameras send")
        for node in ("n1", "n2"):
            local.change(node, shelf.new, shelf.old)
        wait_for(lambda: len(read(root).cutovers) == 2, "both changed")
        passed(1.2)
    record = read(root)
    assert record.totals.lost == 0
    for cutover in record.cutovers:
        near = record.around(cutover, 1.0)
        assert near.lost == 0
        # 60/s for two seconds and more: far above the calm 4/s.
        assert near.requests > 60
        buckets = record.cameras[WORKLOAD, "linz", cutover.node]
        assert {shelf.old[7:19], shelf.new[7:19]} == {d for b in buckets for d in b.by}


def test_a_server_that_is_killed_shows_as_failed_requests(tmp_path: Path, shelf: Shelf) -> None:
    root = tmp_path / "fleet"
    with fleet(root, shelf) as local, plant(root, rate_hz=50.0, timeout_s=0.3):
        local.serve("n1", shelf.old)
        wait_for(lambda: now(root).ok > 20, "answers")
        subprocess.run(["kill", "-9", str(local.server_pids()[0])], check=True)
        wait_for(lambda: now(root).failed > 0, "failures are seen")
        before = now(root).ok
        wait_for(lambda: now(root).ok > before + 20, "it answers again")
    totals = read(root).totals
    assert totals.failed > 0
    assert totals.requests == totals.ok + totals.lost


def test_a_node_that_was_told_to_stop_is_not_photographed(tmp_path: Path, shelf: Shelf) -> None:
    root = tmp_path / "fleet"
    with fleet(root, shelf) as local, plant(root):
        local.serve("n1", shelf.old)
        wait_for(lambda: now(root).cameras == 1, "it sends")
        local.change("n1", None, shelf.old)
        wait_for(lambda: now(root).cameras == 0, "it has stopped")
        local.serve("n1", shelf.old, epoch=2)
        wait_for(lambda: now(root).cameras == 1, "it sends again")


def test_wanted_labels_and_disagreements_are_answered_truly(tmp_path: Path, shelf: Shelf) -> None:
    root = tmp_path / "fleet"
    with fleet(root, shelf, label_rate=0.2) as local, plant(root, rate_hz=40.0):
        local.serve("n1", shelf.old)
        local.serve("n1", shelf.new, shelf.old)
        local.site().shadow(WORKLOAD, {"n1": ShadowOrder(against="previous", rate=1.0)})

        def labelled() -> bool:
            views = local.site().snapshot(WORKLOAD)
            records = Scrape().collect(WORKLOAD, views, -1).get("n1", ())
            mine = [record for record in records if record.digest == shelf.new]
            if not sum(record.disagreed_labelled for record in mine):
                return False
            wanted = sum(record.labelled for record in mine)
            # The new model calls every dark part scratched: half of its answers are wrong.
            return 0 < sum(record.correct for record in mine) < wanted

        wait_for(labelled, "labels and labelled disagreements")
        wait_for(lambda: now(root).labels > 0, "they are counted")


def test_the_plants_own_process_writes_its_totals_and_ends_on_sigterm(
    tmp_path: Path, shelf: Shelf
) -> None:
    root = tmp_path / "fleet"
    config = tmp_path / "plant.json"
    settings = PlantConfig(root=str(root), workload=WORKLOAD, model=NAME, pool=10)
    config.write_bytes(msgspec.json.encode(settings))
    with fleet(root, shelf) as local:
        local.serve("n1", shelf.old)
        process = subprocess.Popen([sys.executable, "-m", "edgefleet.plant", str(config)])
        try:
            # A 64 x 64 surface is not what the tiny model takes: refused with 4xx, and counted.
            wait_for(lambda: now(root).failed > 0, "totals")
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(10)
    assert code == 0
    assert read(root).totals.requests == now(root).failed


def test_a_factorys_parts_are_the_same_for_the_same_seed() -> None:
    first = surface_parts("linz", 12, seed=1)
    assert first == surface_parts("linz", 12, seed=1)
    assert first != surface_parts("graz", 12, seed=1)
    assert {4096} == {len(image) for image in first.images}


def test_a_torn_last_line_is_left_out_and_lines_of_one_bucket_add_up(tmp_path: Path) -> None:
    log = tmp_path / FOLDER / WORKLOAD / "linz" / "n1.jsonl"
    log.parent.mkdir(parents=True)
    log.write_bytes(b'{"t":1.0,"ok":2}\n{"t":1.1,"refused":1}\n{"t":1.0,"failed":1}\n{"t":1.2,"o')
    (tmp_path / "events.jsonl").write_text(
        '{"kind":"died","time":1}\n'
        '{"kind":"cutover","time":1.1,"factory":"linz","node":"n1","workload":"inspection",'
        '"old":"a","new":"b","ready":1.1,"drained":1.1}\n'
    )
    record = read(tmp_path)
    (cutover,) = record.cutovers
    assert Counts(ok=2, failed=1, refused=1) == record.totals
    assert Counts(refused=1) == record.around(cutover, 0.05)
    assert Counts() == record.around(msgspec.structs.replace(cutover, node="n2"), 0.05)
