"""What a node depends on goes away: its registry, an image, disk; and its link, for 90 s.

The first node is cut off while the tests of the second one run, and judged after them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import pytest

from edgefleet.edge.contract import Digest
from edgefleet.fleet.inventory import PullState
from tests.kubernetes.cluster.factory import Factory
from tests.kubernetes.cluster.real_node import PAUSE, RealNode
from tests.kubernetes.cluster.remains import wait_for
from tests.kubernetes.hall import Hall, Life, open_hall

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(300)]

AWAY_S = 90.0
"""Longer than the control plane waits for a node, and than a pod's toleration unless it says so."""
BARE = "/api/v1/namespaces/default/pods"


@pytest.fixture(scope="module")
def hall(factory: Factory, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hall]:
    with open_hall(factory, tmp_path_factory.mktemp("shelf"), "outages") as hall:
        yield hall


@dataclass
class LongCut:
    """A node that is cut off, with a client inside."""

    node: RealNode
    life: Life
    since: float
    clients: ExitStack


@pytest.fixture(scope="module", autouse=True)
def long_cut(hall: Hall) -> Iterator[LongCut]:
    node, _ = hall.nodes
    hall.factory.plane.ask("POST", BARE, bare_pod(node))
    path = f"{BARE}/bare"
    phase = lambda: hall.factory.plane.ask("GET", path)["status"]["phase"]  # noqa: E731
    wait_for(lambda: phase() == "Running", "a bare pod runs", 60)
    with ExitStack() as clients:
        clients.enter_context(hall.clients(node))
        life = hall.alone(node)
        node.cable.cut()
        yield LongCut(node, life, time.monotonic(), clients)
        node.cable.mend()


def bare_pod(node: RealNode) -> object:
    """Return a pod that says nothing of how long it may be out of reach."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "bare"},
        "spec": {
            "nodeName": node.name,
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "pause", "image": PAUSE, "imagePullPolicy": "Never"}],
        },
    }


def test_what_is_held_needs_no_registry_at_the_change(hall: Hall) -> None:
    _, node = hall.nodes
    new = hall.package("held")
    hall.hold(node, new)
    with hall.clients(node):
        hall.factory.registry.stop()
        try:
            was = hall.order(node, new)
            hall.wait_serving(node, new)
            hall.alone(node)
            assert was is not None
            hall.order(node, was)
            hall.wait_serving(node, was)
            hall.alone(node)
        finally:
            hall.factory.registry.start()


def test_a_pull_waits_for_a_registry_that_is_down(hall: Hall) -> None:
    _, node = hall.nodes
    new = hall.package("late")
    hall.factory.registry.stop()
    try:
        hall.site.hold(node.name, new)

        def tried() -> bool:
            pods = hall.factory.pods("edgefleet.org/held")
            said = [s for p in pods for s in p["status"].get("initContainerStatuses", ())]
            return any(s["state"].get("waiting", {}).get("reason") == "ErrImagePull" for s in said)

        wait_for(tried, "the kubelet has tried", 60)
        pull = hall.view(node).pull_of(new)
        assert pull is not None
        assert (pull.state, pull.reason) == (PullState.PULLING, "")
    finally:
        hall.factory.registry.start()
    hall.hold(node, new)


def test_an_image_that_was_removed_behind_the_hold_is_pulled_again(hall: Hall) -> None:
    _, node = hall.nodes
    new = hall.package("removed")
    there = images(node)
    hall.hold(node, new)
    node.ctr("images", "rm", "--sync", *sorted(images(node) - there))
    with hall.clients(node):
        hall.factory.registry.stop()
        try:
            was = hall.order(node, new)
            view = hall.wait(node, lambda view: view.problem, "says what it lacks", 60)
            assert view.problem.startswith("image: ")
            assert was is not None
            assert view.serves(was)
        finally:
            hall.factory.registry.start()
        hall.wait_serving(node, new)
        hall.alone(node)


def images(node: RealNode) -> set[str]:
    return set(node.ctr("images", "ls", "-q").split())


def test_a_node_short_of_disk_serves_on_and_says_what_it_lacks(hall: Hall) -> None:
    _, node = hall.nodes
    held, other = hall.package("before-the-flood"), hall.package("in-the-flood")
    hall.hold(node, held)
    before = hall.alone(node)
    with hall.clients(node):
        node.restart_kubelet(evictionHard={"nodefs.available": "99%", "imagefs.available": "99%"})
        try:
            wait_for(lambda: node.condition("DiskPressure") == "True", "disk pressure", 60)
            hall.site.hold(node.name, other)
            was = hall.order(node, held)
            assert was is not None
            view = hall.wait(node, lambda view: view.problem, "says what it lacks", 30)
            assert "disk" in view.problem

            def failed(digest: Digest) -> str:
                pulls = {pull.digest: pull for pull in hall.view(node).pulls}
                pull = pulls[digest]
                return pull.reason if pull.state is PullState.FAILED else ""

            for digest in (held, other):
                reason = wait_for(partial(failed, digest), "the pull says what it lacks", 60)
                assert str(reason).startswith("no disk: ")
            until = time.monotonic() + 25
            while time.monotonic() < until:  # the kubelet takes away whom it may
                assert before in hall.lives(node)
                assert hall.view(node).serves(was)
                time.sleep(0.5)
        finally:
            node.restart_kubelet()
            wait_for(lambda: node.condition("DiskPressure") == "False", "disk enough", 90)
        hall.wait_serving(node, held)
        hall.alone(node)


def test_a_link_cut_for_90_s_neither_moves_nor_renews_what_serves(
    hall: Hall, long_cut: LongCut
) -> None:
    node = long_cut.node
    view = hall.view(node)
    assert (view.online, view.serving, view.problem) == (False, None, "")
    wait_for(lambda: time.monotonic() > long_cut.since + AWAY_S, "90 s have passed", AWAY_S)
    assert hall.lives(node) == {long_cut.life}
    assert "deletionTimestamp" in hall.factory.plane.ask("GET", f"{BARE}/bare")["metadata"]
    node.cable.mend()
    digest = view.ordered
    assert digest is not None
    hall.wait_serving(node, digest)
    assert hall.alone(node) == long_cut.life
    long_cut.clients.close()
