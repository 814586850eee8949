"""A fleet of 200 hollow nodes is a fleet: sites see it, order on it, and it gives evidence."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgefleet.adapters.kubernetes.api import Api
from edgefleet.adapters.kubernetes.cluster import Cluster
from edgefleet.adapters.kubernetes.site import KubernetesSite
from edgefleet.adapters.memory.windows import Quality
from edgefleet.adapters.scrape import Scrape
from edgefleet.edge.contract import Digest, Evidence, parse_digest
from edgefleet.fleet.inventory import Change, NodeView, Pull, PullState
from edgefleet.ports import Image, Layer
from tests.kubernetes.cluster.hollow import HollowFleet, Layout, Planes, hollow_fleet, layout
from tests.kubernetes.cluster.remains import run, wait_for
from tests.kubernetes.cluster.stages import Failing, Failure
from tests.kubernetes.cluster.watched import skip_without

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(600)]

JOB = "defect-detection"
FACTORIES, NODES = 12, 200
WINDOW_S = 1.0


def package(number: int) -> Digest:
    return parse_digest(f"sha256:{hashlib.sha256(bytes([number])).hexdigest()}")


def described(digest: Digest) -> Image:
    return Image(digest, (Layer(digest, 1_000_000, "model"),), {})


@dataclass
class Stage:
    """A fleet and its sites, each with a connection of its own."""

    fleet: HollowFleet
    sites: Mapping[str, KubernetesSite]
    apis: Mapping[str, Api]

    def views(self, factories: Iterable[str] = ()) -> list[NodeView]:
        chosen = tuple(factories) or tuple(self.sites)
        return [view for name in chosen for view in self.sites[name].snapshot(JOB)]

    def view(self, node: str) -> NodeView:
        return next(view for view in self.views() if view.node == node)

    def calls(self) -> Counter[str]:
        return sum((api.calls for api in self.apis.values()), Counter[str]())

    def order(self, views: Iterable[NodeView], want: Digest, epoch: int) -> None:
        for view in views:
            change = Change(JOB, view.node, view.factory, want, view.ordered, epoch)
            self.sites[view.factory].apply(change)

    def wait_pulled(self, nodes: Iterable[str], digest: Digest, state: PullState) -> list[Pull]:
        asked = set(nodes)

        def pulled() -> list[Pull]:
            found = [v.pull_of(digest) for v in self.views() if v.node in asked]
            ended = [pull for pull in found if pull is not None and pull.state is state]
            return ended if len(ended) == len(asked) else []

        found = wait_for(pulled, f"{digest[7:15]} {state} on {len(asked)} nodes", 60)
        assert isinstance(found, list)
        return found

    def wait_serving(self, nodes: Iterable[str], digest: Digest) -> None:
        asked = set(nodes)
        wait_for(
            lambda: all(view.serves(digest) for view in self.views() if view.node in asked),
            f"{digest[7:15]} serving on {len(asked)} nodes",
            60,
        )


@contextmanager
def staged(nodes: Layout, planes: Planes) -> Iterator[Stage]:
    """Yield a fleet with its sites, say what it cost, and see that nothing of it is left."""
    skip_without("kwok", "addresses of pods")
    began = time.monotonic()
    with hollow_fleet(nodes, planes) as fleet, ExitStack() as stack:
        count = sum(map(len, nodes.values()))
        took = f"{time.monotonic() - began:.0f} s"
        print(f"\n{len(fleet.planes)} control planes, {count} nodes Ready: {took}")  # noqa: T201
        manner = fleet.manner(window_s=WINDOW_S, min_ready_s=0)
        apis, sites = {}, {}
        for name, factory in fleet.factories.items():
            apis[name] = Api.of_context(name, factory.kubeconfig, None)
            cluster = Cluster(apis[name], manner, described, {"a.pub": "a key"})
            stack.callback(cluster.close)
            sites[name] = KubernetesSite(name, cluster, factory.selector)
        stage = Stage(fleet, sites, apis)
        yield stage
        print(f"calls of the sites: {dict(stage.calls())}\n{cost(fleet)}")  # noqa: T201
    processes = [one.popen.pid for some in fleet.running().values() for one in some]
    assert [pid for pid in processes if Path(f"/proc/{pid}").exists()] == []
    assert not fleet.remains.root.exists()
    pods = next(iter(fleet.factories.values())).pods.supernet(new_prefix=16)
    assert str(pods) not in run("ip", "route", "show", "table", "local").stdout


def cost(fleet: HollowFleet) -> str:
    """Return what the fleet's processes have taken, by kind."""
    lines = [
        f"{name}: {len(some)} processes, {sum(one.rss_mb() for one in some):.0f} MB, "
        f"{sum(one.cpu_s() for one in some):.1f} core-s"
        for name, some in fleet.running().items()
    ]
    return "\n".join(lines)


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged(layout(FACTORIES, NODES), "each") as stage:
        yield stage


def test_every_node_of_every_factory_is_seen_online_for_a_list_and_a_watch_each(
    stage: Stage,
) -> None:
    views = stage.views()
    assert len(views) == NODES
    assert len({view.node for view in views}) == NODES
    assert all(view.online for view in views)
    assert {view.factory for view in views} == set(stage.fleet.factories)
    before = stage.calls()["list nodes"]
    assert before == FACTORIES
    stage.views()
    assert stage.calls()["list nodes"] == before


def test_what_was_held_and_ordered_serves_by_its_own_word_and_gives_evidence(stage: Stage) -> None:
    old, new = package(1), package(2)
    stage.fleet.worth({new: Quality(accuracy=0.6)})
    begun = stage.calls()
    chosen = [view for name in list(stage.sites)[:2] for view in stage.views([name])[:5]]
    nodes = [view.node for view in chosen]
    for digest, epoch in ((old, 1), (new, 2)):
        for view in chosen:
            stage.sites[view.factory].hold(view.node, digest)
        stage.wait_pulled(nodes, digest, PullState.PRESENT)
        now = [view for view in stage.views() if view.node in nodes]
        stage.order(now, digest, epoch)
        stage.wait_serving(nodes, digest)
    print(f"two orders to {len(nodes)} nodes: {dict(stage.calls() - begun)}")  # noqa: T201

    window = int(time.time() // WINDOW_S)
    serving = [view for view in stage.views() if view.node in nodes]

    def evidence() -> Mapping[str, tuple[Evidence, ...]]:
        found = Scrape().collect(JOB, serving, window)
        return found if all(len(found.get(node, ())) >= 2 for node in nodes) else {}

    found = wait_for(evidence, "two windows of each node")
    assert isinstance(found, dict)
    boots = {view.node: view.serving.boot for view in serving if view.serving}
    records = [(node, record) for node, listed in found.items() for record in listed]
    assert {record.digest for _, record in records} == {new}
    assert all(record.boot == boots[node] for node, record in records)
    labelled = sum(record.labelled for _, record in records)
    correct = sum(record.correct for _, record in records)
    assert abs(correct / labelled - 0.6) < 0.15


def test_a_package_fails_as_it_was_told_to_and_the_one_before_goes_on(stage: Stage) -> None:
    good, absent, stuck, crashing = map(package, range(10, 14))
    chosen = stage.views([list(stage.sites)[2]])[:4]
    nodes = [view.node for view in chosen]
    stage.order(chosen, good, 1)
    stage.wait_serving(nodes, good)
    said = "manifest unknown: no such thing"
    fleet = stage.fleet
    fleet.let_fail(Failure(Failing.NO_PULL, absent, message=said))
    fleet.let_fail(Failure(Failing.NEVER_READY, stuck))
    fleet.let_fail(Failure(Failing.CRASHES, crashing, nodes=[nodes[2]], message="bad magic"))

    site = stage.sites[chosen[0].factory]
    site.hold(nodes[0], absent)
    [pull] = stage.wait_pulled(nodes[:1], absent, PullState.FAILED)
    assert said in pull.reason
    for node, digest in zip(nodes, (absent, stuck, crashing, crashing), strict=True):
        stage.order([stage.view(node)], digest, 2)
    stage.wait_serving(nodes[3:], crashing)
    wait_for(lambda: said in stage.view(nodes[0]).problem, "what the pull met")
    wait_for(lambda: "bad magic" in stage.view(nodes[2]).problem, "what it wrote last")
    assert all(stage.view(node).serves(good) for node in nodes[:3])
    fleet.let_be()
    stage.order([stage.view(nodes[3])], stuck, 3)
    stage.wait_serving(nodes[3:], stuck)


def test_a_slow_pull_takes_as_long_as_it_was_told_to(stage: Stage) -> None:
    slow = package(20)
    view = stage.views([list(stage.sites)[3]])[0]
    stage.fleet.let_fail(Failure(Failing.SLOW_PULL, slow, seconds=3.0))
    stage.sites[view.factory].hold(view.node, slow)
    [pull] = stage.wait_pulled([view.node], slow, PullState.PRESENT)
    assert 2.0 <= pull.seconds <= 10.0
    stage.fleet.let_be()


def test_a_node_that_is_off_is_missed_and_does_later_what_it_was_told_meanwhile(
    stage: Stage,
) -> None:
    first, second = package(30), package(31)
    [view, *_] = stage.views([list(stage.sites)[4]])
    stage.order([view], first, 1)
    stage.wait_serving([view.node], first)
    stage.fleet.switch_off(view.node)
    wait_for(lambda: not stage.view(view.node).online, "the node is missed", 10)
    assert stage.view(view.node).serving is None
    stage.order([stage.view(view.node)], second, 2)
    assert stage.view(view.node).ordered == second
    # kwok may overlook a pod that comes in the moment in which its node does.
    wait_for(lambda: len(stage.fleet.pods(view.node)) == 2, "a pod that waits for its node", 30)
    stage.fleet.switch_on(view.node)
    wait_for(lambda: stage.view(view.node).online, "the node is back", 10)
    stage.wait_serving([view.node], second)


def test_two_factories_behind_one_api_server_see_and_change_their_own_nodes_only() -> None:
    nodes = layout(2, 6)
    with staged(nodes, "one") as stage:
        for name, of in nodes.items():
            assert {view.node for view in stage.views([name])} == set(of)
        [first, second] = stage.sites
        views = stage.views([first])
        stage.order(views, package(1), 1)
        stage.wait_serving([view.node for view in views], package(1))
        assert all(view.serving is None for view in stage.views([second]))
        assert len(stage.fleet.planes) == 1
