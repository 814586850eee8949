"""One central API with the edges of two factories, as KubeEdge shows them; CloudCore is played.

What KubeEdge does differently is scripted on hollow nodes: an edge is Ready before its pods' state
is true, and may hold a new pod back. The account has the rights of infra/k3s/rbac.yaml: no events,
no proxy, no logs, so that whatever needed them would fail here. The tests go on from each other.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from edgefleet.adapters.kubernetes.edges import ROLE
from edgefleet.errors import Unreachable
from edgefleet.fleet.inventory import Change, NodeView
from edgefleet.fleet.release import Phase
from edgefleet.fleet.stage import Fate, change_report
from edgefleet.report.gather import ReleaseStory
from tests.kubernetes.cluster.hollow import layout
from tests.kubernetes.cluster.remains import wait_for
from tests.kubernetes.cluster.stages import Failing, Failure
from tests.kubernetes.cluster.watched import skip_without
from tests.kubernetes.hollow_release import Stage, staged

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(600)]

FACTORIES, NODES = 2, 16
SETTLE_S = 5.0
HELD, STALE = "node-003", "node-012"
KINDS = {"nodes", "pods", "deployments", "jobs", "configmaps", "services"}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    skip_without("kwok", "addresses of pods")
    edges = layout(FACTORIES, NODES, **{ROLE: ""})
    with staged(tmp_path_factory.mktemp("release"), edges, "one", SETTLE_S) as stage:
        yield stage


@pytest.fixture(scope="module")
def first(stage: Stage) -> ReleaseStory:
    # All edges are new to the driver: none is believed until they have settled.
    with pytest.raises(Unreachable, match="all of its 16 edges"):
        stage.views()
    wait_for(lambda: online(stage) == NODES, "all edges have settled", 60)
    return stage.release(stage.first(1))


@pytest.fixture(scope="module")
def held(stage: Stage, first: ReleaseStory) -> ReleaseStory:
    """A release while an edge's own operator keeps new servers back."""
    assert first.release.phase is Phase.RELEASED, stage.how(first.release.release_id)
    stage.fleet.let_fail(Failure(Failing.HELD_BACK, nodes=[HELD]))
    return stage.release(stage.submit(2))


def online(stage: Stage) -> int:
    try:
        return sum(view.online for view in stage.views())
    except Unreachable:
        return 0


def seen(stage: Stage, node: str) -> NodeView:
    return next(view for view in stage.views() if view.node == node)


def test_a_release_goes_over_all_factories_of_one_api(stage: Stage, first: ReleaseStory) -> None:
    assert first.release.phase is Phase.RELEASED, stage.how(first.release.release_id)
    assert first.package is not None
    by_factory = {name: site.snapshot("defect-detection") for name, site in stage.sites.items()}
    assert [len(views) for views in by_factory.values()] == [NODES // 2, NODES // 2]
    late = [
        v.node for views in by_factory.values() for v in views if not v.serves(first.package.digest)
    ]
    assert late == []


def test_an_edge_that_is_held_by_its_operator_is_deferred_and_said_so(
    stage: Stage, held: ReleaseStory
) -> None:
    assert held.release.phase is Phase.RELEASED, stage.how(held.release.release_id)
    assert f"1 later: {HELD}" in held.release.reason
    reports = [r for some in held.changed.values() for s in some for r in s.nodes if r.node == HELD]
    assert {report.fate for report in reports} == {Fate.DEFERRED}
    assert "waits until the node's operator lets it go" in reports[-1].reason
    view = seen(stage, HELD)
    assert view.serving is not None
    assert view.serving.ready


def test_it_serves_the_release_once_it_is_let_go(stage: Stage, held: ReleaseStory) -> None:
    assert held.package is not None
    want = held.package.digest
    stage.fleet.let_be()
    stage.fleet.wait(HELD, "ContainerCreating")
    wait_for(lambda: seen(stage, HELD).serves(want), "the held node serves it", 30)
    assert seen(stage, HELD).hold_reason is None


def test_an_edge_that_returns_with_the_past_of_its_pods_is_not_judged_by_it(
    stage: Stage, first: ReleaseStory, held: ReleaseStory
) -> None:
    assert first.package is not None
    assert held.package is not None
    was, want = held.package.digest, first.package.digest
    view = seen(stage, STALE)
    change = Change("defect-detection", STALE, view.factory, want, was, epoch=1000)
    stage.fleet.switch_off(STALE)
    wait_for(lambda: not seen(stage, STALE).online, "the edge is missed", 20)
    stage.sites[view.factory].apply(change)
    admin = next(iter(stage.fleet.admins.values()))

    def bound() -> bool:
        path = f"/api/v1/pods?fieldSelector=spec.nodeName={STALE},status.phase=Pending"
        return bool(admin.ask("GET", path)["items"])

    wait_for(bound, "its new pod is bound while it is away", 20)
    stage.fleet.wait(STALE, "ErrImagePull", "dial tcp: no route to host")
    stage.fleet.hear(STALE)
    back = wait_for(
        lambda: (found := seen(stage, STALE)).away.startswith("back") and found, "it is heard", 20
    )
    assert isinstance(back, NodeView)
    report = change_report(back, change, 1.0)
    assert report is not None
    assert (report.fate, report.reason) == (Fate.DEFERRED, back.away)
    # Its EdgeCore tells: the image comes now that there is a way to it.
    stage.fleet.wait(STALE, "ContainerCreating")
    stage.fleet.switch_on(STALE)
    wait_for(lambda: seen(stage, STALE).serves(want), "it serves what was ordered meanwhile", 40)


@pytest.mark.usefixtures("held")
def test_all_edges_silent_at_once_are_a_factory_that_does_not_answer(stage: Stage) -> None:
    nodes = [node for factory in stage.fleet.factories.values() for node in factory.nodes]
    stage.fleet.switch_off(*nodes)
    wait_for(lambda: online(stage) == 0, "all are missed", 20)
    with pytest.raises(Unreachable, match="as when its CloudCore is away"):
        stage.views()
    stage.fleet.switch_on(*nodes)
    wait_for(lambda: online(stage) == NODES, "all are back", 60)


@pytest.mark.usefixtures("held")
def test_each_kind_was_listed_once_for_all_factories_and_nothing_else_was_asked(
    stage: Stage,
) -> None:
    calls = stage.calls()
    print(f"{FACTORIES} factories, {NODES} edges: {dict(calls)}")  # noqa: T201
    lists = {name: count for name, count in calls.items() if name.startswith("list ")}
    listed = ("nodes", "pods", "deployments", "jobs", "configmaps")
    assert lists == {f"list {kind}": 1 for kind in listed}
    assert {name.split(" ")[1] for name in calls} <= KINDS
