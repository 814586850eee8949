"""A node whose one device is taken: its server takes the new model in place, under load."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgefleet.adapters.kubernetes.site import KubernetesSite
from edgefleet.edge.contract import Digest, Needs
from edgefleet.fleet.inventory import Change, NodeView, PullState
from edgefleet.fleet.manifest_names import WORKLOAD
from tests.edge.tiny import DARK, tiny_package
from tests.kubernetes.cluster.factory import Factory
from tests.kubernetes.cluster.load import Load
from tests.kubernetes.cluster.remains import wait_for
from tests.kubernetes.cluster.watched import watched_cluster

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(300)]

JOB = "on-the-device"
DEVICE = "example.com/gpu"
NODE_PORT = 30081
NEEDS = Needs(memory_mb=200, cpu_millis=100, devices={DEVICE: 1})


@dataclass
class Line:
    """A node with one device, and packages that need it."""

    factory: Factory
    site: KubernetesSite
    packages: dict[str, Digest]
    epoch: int = 0

    @property
    def node(self) -> str:
        return self.factory.nodes[0].name

    def view(self) -> NodeView:
        return next(view for view in self.site.snapshot(JOB) if view.node == self.node)

    def change(self, want: str, was: str | None) -> None:
        """Order a package by its name, held first as a release does."""
        self.epoch += 1
        digest = self.packages[want]
        before = self.packages[was] if was else None
        order = Change(JOB, self.node, "graz", digest, before, self.epoch, swap=True)
        self.site.apply(order)

    def hold(self, name: str) -> None:
        digest = self.packages[name]
        self.site.hold(self.node, digest)

        def there() -> bool:
            pull = self.view().pull_of(digest)
            assert pull is None or pull.state is not PullState.FAILED, pull
            return pull is not None and pull.state is PullState.PRESENT

        wait_for(there, f"{name} is held", 90)

    def wait_serving(self, name: str) -> None:
        wait_for(lambda: self.view().serves(self.packages[name]), f"{name} serves", 90)

    def pods(self) -> list[Any]:
        return self.factory.pods(f"{WORKLOAD}={JOB}")


@pytest.fixture(scope="module")
def line(factory: Factory, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    folder = tmp_path_factory.mktemp("packages")
    keys = folder / "keys"
    packages = {}
    for name, bias, shift in (("one", 0.0, 0.0), ("two", 0.5, 0.0), ("ill", 0.7, 0.5)):
        made = folder / name
        tiny_package(made, keys, bias=bias, version=name, golden_shift=shift, needs=NEEDS)
        packages[name] = Digest(factory.push(made, f"device-{name}"))
    node = factory.nodes[0].name
    taken = [{"op": "add", "path": "/status/capacity/example.com~1gpu", "value": "1"}]
    path = f"/api/v1/nodes/{node}/status"
    factory.plane.ask("PATCH", path, taken, "application/json-patch+json")
    manner = factory.manner(node_port=NODE_PORT, window_s=2.0, linger_s=1.0)
    with watched_cluster(factory, keys, manner) as cluster:
        line = Line(factory, KubernetesSite("graz", cluster), packages)
        wait_for(lambda: free(line) == 1, "the kubelet offers the device", 60)
        line.hold("one")
        line.change("one", None)
        line.wait_serving("one")
        yield line


def free(line: Line) -> int:
    """Return how many devices are left on the node."""
    left = line.view().free
    return left.devices.get(DEVICE, 0) if left else 0


def test_its_device_is_taken_so_no_second_server_could_start(line: Line) -> None:
    assert free(line) == 0
    assert line.view().swaps


def test_models_are_swapped_and_back_under_load_in_one_pod_without_a_failed_request(
    line: Line,
) -> None:
    [before] = line.pods()
    one, two = line.packages["one"], line.packages["two"]
    address = line.factory.nodes[0].cable.address
    line.hold("two")
    with Load(address, NODE_PORT, "/v2/models/tiny/raw", DARK) as load:
        wait_for(lambda: load.served_by(one) > 100, "answers of the first", 60)
        line.change("two", "one")
        wait_for(lambda: load.served_by(two) > 100, "answers of the second", 90)
        line.wait_serving("two")
        # The way back: what was held for the release is gone already.
        line.site.release_hold(line.node, two)
        line.change("one", "two")
        served = load.served_by(one)
        wait_for(lambda: load.served_by(one) > served + 100, "answers of the first again", 90)
        line.wait_serving("one")
    print(f"{len(load.answers)} requests, {len(load.failed)} failed: {load.failed[:3]}")  # noqa: T201
    assert load.failed == []
    [after] = line.pods()
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["status"]["containerStatuses"][0]["restartCount"] == 0


def test_a_model_that_fails_its_self_check_is_not_taken_and_the_node_says_why(line: Line) -> None:
    line.hold("ill")
    line.change("ill", "one")
    words = wait_for(lambda: line.view().problem, "the node says why", 90)
    assert "golden" in str(words)
    serving = line.view().serving
    assert serving is not None
    assert serving.ready
    assert serving.digest == line.packages["one"]
    line.change("one", "ill")
    line.wait_serving("one")
    assert wait_for(lambda: not line.view().problem, "all is well again", 30)


def test_killed_after_a_swap_it_comes_back_with_what_it_was_told(line: Line) -> None:
    line.hold("two")
    line.change("two", "one")
    line.wait_serving("two")
    boot = line.view().serving
    assert boot is not None
    os.kill(server(), signal.SIGKILL)

    def back() -> bool:
        seen = line.view().serving
        return seen is not None and seen.boot != boot.boot and line.view().serves(seen.digest)

    wait_for(back, "a new process serves", 90)
    line.wait_serving("two")
    [pod] = line.pods()
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 1


def server() -> int:
    """Return the process of the workload's server, on this machine."""
    wanted = f'"workload":"{JOB}"'
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                words = (folder / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if "edgefleet.edge" in words and wanted in words:
                return int(folder.name)
    pytest.fail("no process of the server")
