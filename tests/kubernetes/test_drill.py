"""The real flow unplugs a real node, and reads from its own windows that it served on.

A client inside the node's own network asks sixty times a second and never twice, so that what the
node says of itself is held against what its cameras live through.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from edgefleet.adapters.kubernetes.site import KubernetesSite
from edgefleet.adapters.memory.kill import watched
from edgefleet.adapters.scrape import Scrape
from edgefleet.cli.own_prefect import own_prefect
from edgefleet.fleet.finding import Outcome
from edgefleet.fleet.unplugged import Drilled
from edgefleet.rehearsal import stage
from edgefleet.spec import parse_spec
from edgefleet.wiring import WallClock, World, installed
from tests.edge.tiny import DARK
from tests.kubernetes.cluster.factory import PREFIX, Factory
from tests.kubernetes.cluster.load import Inside, failed
from tests.kubernetes.cluster.plugged import cable_to
from tests.kubernetes.cluster.remains import wait_for
from tests.kubernetes.hall import PATH, RATE_HZ, Hall, open_hall
from tests.registry.opened import opened
from tests.scenarios.crowned import crown

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(400)]

JOB = "drill"
SECONDS = 40
WINDOW_S = 2
SPEC = f"""
workload: {JOB}
model: tiny
selector: {{}}
gates: {{window_s: {WINDOW_S}, floors: {{accuracy: 0.6, p99_ms: 1000}}}}
"""


@pytest.fixture(scope="module")
def hall(factory: Factory, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hall]:
    with open_hall(factory, tmp_path_factory.mktemp("shelf"), JOB, size=1) as hall:
        yield hall


@pytest.fixture(scope="module")
def camera(hall: Hall) -> Iterator[Inside]:
    """Given a client inside the node, through all of it."""
    [node] = hall.nodes
    remains = hall.factory.remains
    file = remains.root / "camera.jsonl"
    client = Inside(remains, node.cable, file, hall.address, 80, PATH, DARK, RATE_HZ)
    yield client
    client.end()


@pytest.fixture(scope="module")
def world(
    hall: Hall,
    camera: Inside,  # noqa: ARG001 - it asks while Prefect's server starts
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[World]:
    """Given a node whose champion was released, what unplugs it, and the spec's file."""
    folder = tmp_path_factory.mktemp("drill")
    (folder / f"{JOB}.yaml").write_text(SPEC)
    champion = hall.view(hall.nodes[0]).ordered
    assert champion is not None
    factory, cable = hall.site.factory, cable_to(hall.factory)
    with (
        opened(hall.factory.registry.url, PREFIX) as images,
        pytest.MonkeyPatch.context() as patch,
        own_prefect(),
    ):
        patch.setenv("EDGEFLEET_SPECS", str(folder))
        world = replace(
            stage(parse_spec(SPEC, "test"), folder, nodes=1, factories=1).world,
            clock=WallClock(),
            images=images,
            telemetry=Scrape(),
            sites={factory: KubernetesSite(factory, hall.site.cluster, None, cable)},
        )
        crown(world, SPEC, champion)
        with installed(world):
            yield world


def held(hall: Hall) -> Drilled:
    """Hold a drill of the node once all windows that it is compared with were busy ones."""
    from flows.drill import PAST_WINDOWS, drill  # noqa: PLC0415 - once Prefect's server is up

    [node] = hall.nodes

    def busy() -> bool:
        found = Scrape().collect(JOB, [hall.view(node)], -1).get(node.name, ())
        busy = [window for window in found if window.warm and window.ok > RATE_HZ]
        return len(busy) > PAST_WINDOWS

    wait_for(busy, "windows to compare with", 120)
    found = drill(JOB, (node.name,), SECONDS)
    [one] = found.nodes
    print(f"{found.in_words}; {one.text}")  # noqa: T201 - the measurement
    return one


def test_a_real_node_passes_its_drill_and_no_request_inside_is_lost(
    hall: Hall, world: World, camera: Inside
) -> None:
    [node] = hall.nodes
    before, serving = hall.alone(node), hall.view(node).serving
    begun = time.time()
    one = held(hall)
    assert one.verdict is Outcome.PASS, one.text
    assert (one.failed, one.gaps, one.restarted, one.recreated) == (0, 0, 0, False)
    assert one.windows_late == SECONDS // WINDOW_S
    assert (hall.alone(node), hall.view(node).serving) == (before, serving)
    asked = camera.answers(begun)
    assert failed(asked) == []
    print(f"{len(asked)} requests, none failed")  # noqa: T201 - the measurement
    assert len(asked) > one.served > 10 * SECONDS
    (last, *_) = reversed(world.ledger.journal(f"{JOB}-1"))
    assert "1 nodes: 1 pass" in last.text


def test_a_container_killed_while_its_node_is_cut_off_fails_the_drill(
    hall: Hall, world: World, camera: Inside
) -> None:
    [node] = hall.nodes
    before = hall.alone(node)
    struck: list[float] = []

    def strike(when: str, call: str) -> None:
        if (when, call) == ("after", "KubernetesSite.unplug") and not struck:
            struck.append(time.time())
            node.ctr("task", "kill", "-s", "SIGKILL", before.container.split("//")[1])

    sites = {name: watched(site, strike) for name, site in world.sites.items()}
    with installed(replace(world, sites=sites)):
        one = held(hall)
    assert one.verdict is Outcome.FAIL
    assert "its server was started anew 1 times" in one.text
    assert (one.restarted, one.recreated) == (1, False)
    assert one.gaps > 0
    assert failed(camera.answers(struck[0])) != []
    after = hall.alone(node)
    assert (after.uid, after.restarts) == (before.uid, before.restarts + 1)
