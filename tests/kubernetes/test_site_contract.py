"""A real cluster's site keeps the contract of every site: two kubelets, real edge servers."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgefleet.adapters.kubernetes.cluster import Cluster
from edgefleet.adapters.kubernetes.site import KubernetesSite
from edgefleet.edge.contract import Digest
from tests.contract.site_contract import Bench, SiteContract
from tests.edge.tiny import tiny_package
from tests.kubernetes.cluster.factory import Factory
from tests.kubernetes.cluster.plugged import NOTICE_S, cable_to
from tests.kubernetes.cluster.watched import watched_cluster

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(240)]

_NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def cluster(factory: Factory, shelf: Path) -> Iterator[Cluster]:
    while len(factory.nodes) < 2:
        factory.add_node()
    factory.clear()
    manner = factory.manner(window_s=2.0, linger_s=0.5, drain_s=2.0, min_ready_s=0)
    with watched_cluster(factory, shelf / "keys", manner) as cluster:
        yield cluster


class TestKubernetesSite(SiteContract):
    @pytest.fixture
    def bench(self, factory: Factory, cluster: Cluster, shelf: Path) -> Iterator[Bench]:
        number = next(_NUMBERS)
        digests = []
        for name, bias in (("old", 0.0), ("new", 0.5)):
            folder = shelf / f"{name}-{number}"
            tiny_package(folder, shelf / "keys", bias=bias, version=f"{name}-{number}")
            digests.append(Digest(factory.push(folder, f"{name}-{number}")))
            cluster.describe(digests[-1])
        nodes = {node.name: node for node in factory.nodes}

        @contextmanager
        def without_images() -> Iterator[None]:
            factory.registry.stop()
            try:
                yield
            finally:
                factory.registry.start()

        yield Bench(
            site=KubernetesSite("graz", cluster, None, cable_to(factory)),
            workload=f"job-{number}",
            old=digests[0],
            new=digests[1],
            idle=iter(nodes),
            wait=lambda: time.sleep(0.1),
            deadline_s=90,
            cut_s=NOTICE_S,
            cut=lambda node: nodes[node].cable.cut(),
            mend=lambda node: nodes[node].cable.mend(),
            without_images=without_images,
        )
        for node in nodes.values():
            node.cable.mend()
        factory.clear()
