"""The edges of one factory of a central API keep the contract of every site; they are hollow."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from edgefleet.adapters.kubernetes.api import Api
from edgefleet.adapters.kubernetes.cluster import Cluster
from edgefleet.adapters.kubernetes.edges import ROLE
from edgefleet.adapters.kubernetes.site import KubernetesSite
from edgefleet.edge.contract import Digest, parse_digest
from edgefleet.errors import Unreachable
from edgefleet.ports import Image, Layer
from tests.contract.site_contract import Bench, SiteContract
from tests.kubernetes.cluster.hollow import HollowFleet, hollow_fleet, layout
from tests.kubernetes.cluster.remains import wait_for
from tests.kubernetes.cluster.stages import Failing, Failure
from tests.kubernetes.cluster.watched import skip_without

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(240)]

_NUMBERS = itertools.count(1)
SETTLE_S = 1.0


@dataclass(frozen=True)
class Hall:
    """A factory of a central API, and its nodes of which nothing was asked."""

    fleet: HollowFleet
    site: KubernetesSite
    idle: Iterator[str]

    def cut(self, node: str) -> None:
        self.fleet.switch_off(node)

    def mend(self, node: str) -> None:
        """Be heard first; what the pods are is told, and done, afterwards."""
        self.fleet.hear(node)
        self.fleet.switch_on(node)

    @contextmanager
    def without_images(self) -> Iterator[None]:
        self.fleet.let_fail(Failure(Failing.NO_PULL, message="dial tcp: connection refused"))
        try:
            yield
        finally:
            self.fleet.let_be()
            for factory in self.fleet.factories.values():
                for node in factory.nodes:
                    self.fleet.wait(node, "ContainerCreating")


@pytest.fixture(scope="module")
def hall() -> Iterator[Hall]:
    skip_without("kwok", "addresses of pods")
    with hollow_fleet(layout(2, 72, **{ROLE: ""}), "one") as fleet:
        factory = next(iter(fleet.factories.values()))
        api = Api.of_context(factory.plane.name, factory.kubeconfig, None)
        manner = fleet.manner(window_s=1.0, min_ready_s=0)
        cluster = Cluster(api, manner, described, {"a.pub": "a key"}, SETTLE_S)
        site = KubernetesSite(factory.name, cluster, factory.selector)

        def settled() -> bool:
            try:
                return all(view.online for view in site.snapshot("none"))
            except Unreachable:
                return False

        wait_for(settled, "all edges have settled", 30)
        yield Hall(fleet, site, iter(factory.nodes))
        cluster.close()


def described(digest: Digest) -> Image:
    return Image(digest, (Layer(digest, 1_000_000, "model"),), {})


def package(name: str) -> Digest:
    return parse_digest(f"sha256:{hashlib.sha256(name.encode()).hexdigest()}")


class TestKubeEdgeSite(SiteContract):
    @pytest.fixture
    def bench(self, hall: Hall) -> Bench:
        number = next(_NUMBERS)
        return Bench(
            site=hall.site,
            workload=f"job-{number}",
            old=package(f"old-{number}"),
            new=package(f"new-{number}"),
            idle=hall.idle,
            wait=lambda: time.sleep(0.1),
            deadline_s=60,
            unplugs=False,
            cut=hall.cut,
            mend=hall.mend,
            without_images=hall.without_images,
        )
