"""A factory's mirror, as infra/mirror has it: each layer crosses the WAN once, for all nodes."""

from __future__ import annotations

import json
import shutil
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from string import Template

import pytest

from edgefleet.adapters.kubernetes.site import KubernetesSite
from edgefleet.edge.contract import Digest
from edgefleet.fleet.inventory import PullState
from edgefleet.fleet.pacing import pulls_to_start
from edgefleet.ports import Image
from tests.edge.tiny import LABELS, tiny_package
from tests.kubernetes.cluster.control_plane import free_port
from tests.kubernetes.cluster.factory import ROOT, Factory
from tests.kubernetes.cluster.real_node import RealNode
from tests.kubernetes.cluster.remains import wait_for
from tests.kubernetes.cluster.watched import watched_cluster

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(240)]

MARGIN = 1.02
"""What a pull may cost, manifest and configuration included, for each byte of its layers."""
CLASSES = (*LABELS, *(f"class {number}" for number in range(2000)))
"""So many that the model weighs half a megabyte: beside a tiny one a manifest is not small."""


@dataclass
class Mirrored:
    """Two nodes that have never pulled, and know the registry by the mirror only."""

    factory: Factory
    site: KubernetesSite
    nodes: list[RealNode]
    log: Path

    def package(self, shelf: Path, name: str) -> Image:
        bias = len(name) / 10
        tiny_package(shelf / name, shelf / "keys", version=name, bias=bias, labels=CLASSES)
        digest = Digest(self.factory.push(shelf / name, f"mirrored-{name}"))
        return self.site.cluster.describe(digest)

    def bring(self, digest: Digest) -> None:
        """Pull as a release's pre-pull does: a seeder first, then the others."""
        names = [node.name for node in self.nodes]

        def there() -> bool:
            views = self.site.snapshot("job")
            pulls = [view.pull_of(digest) for view in views]
            for pull in pulls:
                assert pull is None or pull.state is not PullState.FAILED, pull
            for node, seed in pulls_to_start(views, names, digest, 8):
                self.site.hold(node, digest, seed)
            return all(pull and pull.state is PullState.PRESENT for pull in pulls)

        wait_for(there, "the package is on both nodes", 120)

    def over_wan(self) -> Counter[str]:
        """Return the bytes that left the registry so far, by digest."""
        served = self.factory.registry.bytes_served()
        return Counter({name.rpartition("/")[2]: size for name, size in served.items()})

    def to_nodes(self) -> dict[str, Counter[str]]:
        """Return the bytes that left the mirror so far, by node and digest."""
        found: dict[str, Counter[str]] = {node.cable.address: Counter() for node in self.nodes}
        for line in self.log.read_text().splitlines():
            address, _status, size, _there, method, uri = line.split()
            if method == "GET" and "sha256:" in uri:
                found[address][uri.rpartition("/")[2]] += int(size)
        return found


@pytest.fixture(scope="module")
def mirrored(factory: Factory, shelf: Path) -> Iterator[Mirrored]:
    folder = factory.remains.root / "mirror"
    mirror = start_mirror(factory, folder)
    ways = {factory.registry.address: mirror}
    nodes = [
        RealNode(
            factory.remains,
            factory.plane,
            factory.network,
            f"graz-mirrored-{number}",
            ways,
            {"mirrored": "yes"},
        )
        for number in range(2)
    ]
    with watched_cluster(factory, shelf / "keys", factory.manner()) as cluster:
        site = KubernetesSite("graz", cluster, {"mirrored": "yes"})
        yield Mirrored(factory, site, nodes, folder / "access.log")
    factory.clear()
    for node in nodes:
        node.kubelet.stop()
        factory.plane.ask("DELETE", f"/api/v1/nodes/{node.name}")


def start_mirror(factory: Factory, folder: Path) -> str:
    """Run nginx as infra/mirror says, in front of the registry, and return its URL."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin")
    if program is None:
        pytest.skip("nginx is not on this machine: apt-get install nginx-light")
    folder.mkdir()
    listen = f"{factory.network.address}:{free_port(factory.network.address)}"
    text = Template((ROOT / "infra" / "mirror" / "nginx.conf").read_text()).safe_substitute(
        LISTEN=listen, REGISTRY=factory.registry.url, CACHE=folder, SIZE="1g"
    )
    (folder / "nginx.conf").write_text(text)
    options = ("-g", "daemon off; user root;", "-p", folder, "-c", folder / "nginx.conf")
    factory.remains.start("nginx", [program, *options], folder / "nginx.log")

    def up() -> bool:
        try:
            with urllib.request.urlopen(f"http://{listen}/v2/", timeout=2) as answer:
                return bool(json.loads(answer.read()) == {})
        except OSError:
            return False

    wait_for(up, "the mirror", 20)
    return f"http://{listen}"


def test_each_layer_crosses_the_wan_once_for_all_nodes(mirrored: Mirrored, shelf: Path) -> None:
    image = mirrored.package(shelf, "one")
    before = mirrored.over_wan()
    mirrored.bring(image.digest)
    crossed = mirrored.over_wan() - before
    for layer in image.layers:
        assert layer.size <= crossed[layer.digest] <= MARGIN * layer.size
    layers = sum(layer.size for layer in image.layers)
    assert crossed.total() <= MARGIN * layers
    for node in mirrored.to_nodes().values():
        assert layers <= node.total() <= MARGIN * layers
    print(f"{layers} bytes of layers, {crossed.total()} over the WAN for 2 nodes")  # noqa: T201


def test_with_the_base_there_a_node_pulls_the_models_layer_alone(
    mirrored: Mirrored, shelf: Path
) -> None:
    first, second = mirrored.package(shelf, "base"), mirrored.package(shelf, "model")
    mirrored.bring(first.digest)
    wan, before = mirrored.over_wan(), mirrored.to_nodes()
    mirrored.bring(second.digest)
    crossed = mirrored.over_wan() - wan
    [model] = {layer.digest for layer in second.layers} - {layer.digest for layer in first.layers}
    size = next(layer.size for layer in second.layers if layer.digest == model)
    assert size <= crossed[model] <= MARGIN * size
    assert crossed.total() <= MARGIN * size
    for address, counts in mirrored.to_nodes().items():
        pulled = counts - before[address]
        assert pulled[model] == size
        assert pulled.total() <= MARGIN * size
        print(f"{address}: {pulled.total()} bytes, the model's layer has {size}")  # noqa: T201


def test_nodes_that_ask_at_the_same_time_wait_for_one_transfer(
    mirrored: Mirrored, shelf: Path
) -> None:
    mirrored.bring(mirrored.package(shelf, "before").digest)
    image = mirrored.package(shelf, "at-once")
    wan = mirrored.over_wan()
    for node in mirrored.nodes:
        mirrored.site.hold(node.name, image.digest)
    mirrored.bring(image.digest)
    crossed = mirrored.over_wan() - wan
    for layer in image.layers:
        assert crossed[layer.digest] in {0, layer.size}
    assert crossed[image.digest] > 0
