"""The real flow unplugs a real edge server of the local fleet, under the load of its cameras."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgefleet.adapters.local.site import LocalSite
from edgefleet.adapters.oci_layout import OciLayout
from edgefleet.adapters.scrape import Scrape
from edgefleet.fleet.finding import Outcome
from edgefleet.rehearsal import stage
from edgefleet.spec import parse_spec
from edgefleet.wiring import WallClock, World, installed
from flows.drill import drill
from tests.adapters.local_fleet import PAUSE_S, WORKLOAD, Fleet, fleet, load, make_shelf
from tests.edge.tiny import wait_for
from tests.scenarios.crowned import crown

SPEC = f"""
workload: {WORKLOAD}
model: tiny
selector: {{line: camera}}
gates: {{window_s: 1, floors: {{accuracy: 0.6, p99_ms: 1000}}}}
"""


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Fleet, World]]:
    """Given two nodes whose champion was released, and the spec's file."""
    shelf = make_shelf(tmp_path)
    specs = tmp_path / "specs"
    specs.mkdir()
    (specs / f"{WORKLOAD}.yaml").write_text(SPEC)
    monkeypatch.setenv("EDGEFLEET_SPECS", str(specs))
    with fleet(tmp_path / "fleet", shelf, nodes=2, window_s=1.0) as running:
        for node in ("n1", "n2"):
            running.serve(node, shelf.old)
        made = stage(parse_spec(SPEC, "test"), tmp_path, nodes=1, factories=1).world
        world = replace(
            made,
            clock=WallClock(),
            images=OciLayout(shelf.images_dir),
            telemetry=Scrape(),
            sites={"linz": LocalSite("linz", running.url)},
        )
        crown(world, SPEC, world.images.resolve("old"))
        with installed(world):
            yield running, world


def test_a_real_node_passes_its_drill_and_no_camera_misses_an_answer(
    local: tuple[Fleet, World],
) -> None:
    running, world = local
    with load(running.cameras("n1"), clients=1, pause_s=PAUSE_S) as sent:
        wait_for(lambda: warm_windows(running) >= 4, "windows to compare with")
        found = drill(WORKLOAD, ("n1",), 6)
    (node,) = found.nodes
    assert node.verdict is Outcome.PASS, node.text
    assert (node.failed, node.gaps, node.restarted, node.recreated) == (0, 0, 0, False)
    assert node.served > 0
    assert node.windows_late >= 5
    assert sent.failed == []
    (last, *_) = reversed(world.ledger.journal(f"{WORKLOAD}-1"))
    assert last.text == found.in_words


def test_a_node_without_cameras_has_nothing_to_prove(local: tuple[Fleet, World]) -> None:
    running, _ = local
    with load(running.cameras("n1"), clients=1):
        wait_for(lambda: warm_windows(running) >= 4, "windows to compare with")
        found = drill(WORKLOAD, ("n2",), 6)
    (node,) = found.nodes
    assert (node.verdict, node.served) == (Outcome.INCONCLUSIVE, 0)
    assert node.text == "its cameras sent nothing, before or meanwhile"


def test_a_server_that_is_killed_while_it_is_cut_off_fails_the_drill(
    local: tuple[Fleet, World],
) -> None:
    running, world = local

    class Killing(LocalSite):
        def unplug(self, node: str, seconds: float) -> None:
            super().unplug(node, seconds)
            if seconds:
                os.kill(server_pid(running), signal.SIGKILL)

    sites = {"linz": Killing("linz", running.url)}
    with load(running.cameras("n1"), clients=1), installed(replace(world, sites=sites)):
        wait_for(lambda: warm_windows(running) >= 4, "windows to compare with")
        found = drill(WORKLOAD, ("n1",), 10)
    (node,) = found.nodes
    assert node.verdict is Outcome.FAIL
    assert node.restarted == 1
    assert "started anew 1 times" in node.text


def server_pid(running: Fleet) -> int:
    """Return the process that serves on n1."""
    file = running.folder("n1") / "jobs" / WORKLOAD / "running.json"
    return int(json.loads(file.read_text())["servers"][-1]["pid"])


def warm_windows(running: Fleet) -> int:
    views = [view for view in running.site().snapshot(WORKLOAD) if view.serving]
    found = Scrape(timeout_s=2.0).collect(WORKLOAD, views, -1)
    return min(len([r for r in found.get(n, ()) if r.warm]) for n in ("n1", "n2"))


def test_a_node_comes_back_although_whoever_unplugged_it_was_killed(
    local: tuple[Fleet, World],
) -> None:
    running, _ = local
    code = (
        "import os, signal; from edgefleet.adapters.local.site import LocalSite\n"
        f"LocalSite('linz', {running.url!r}).unplug('n1', 3)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert not running.view("n1").online
    wait_for(lambda: running.view("n1").online, "it is back")
