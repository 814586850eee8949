"""An edge of KubeEdge that came back is not judged by what its pods were before it was cut off."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import pytest

from edgefleet.adapters.kubernetes.edges import HELD, ROLE, Patience, common_silence, is_edge
from edgefleet.adapters.kubernetes.objects import (
    Condition,
    Container,
    ContainerStatus,
    Deployment,
    DeploymentSpec,
    Meta,
    Node,
    NodeInfo,
    NodeStatus,
    Pod,
    PodSpec,
    PodStatus,
    State,
    Template,
    Waiting,
)
from edgefleet.adapters.kubernetes.views import kin_of, view
from edgefleet.edge.contract import parse_digest
from edgefleet.fleet.inventory import NodeView
from edgefleet.fleet.manifest_names import DIGEST, MANAGER, WORKLOAD

SETTLE_S = 120.0
WANT = parse_digest("sha256:" + 64 * "b")
LONG_AGO, NOW = "2026-01-01T10:00:00Z", "2026-01-01T12:00:00Z"


def node(
    name: str = "n1",
    *,
    ready: bool = True,
    since: str = LONG_AGO,
    heard: str = NOW,
    edge: bool = True,
) -> Node:
    status = "True" if ready else "Unknown"
    condition = Condition(
        type="Ready", status=status, last_transition_time=since, last_heartbeat_time=heard
    )
    labels = {ROLE: ""} if edge else {}
    return Node(metadata=Meta(name=name, labels=labels), status=NodeStatus(conditions=(condition,)))


@dataclass
class Watch:
    """What a process sees of nodes, on a clock of its own."""

    now: float = 1000.0
    patience: Patience = field(init=False)

    def __post_init__(self) -> None:
        self.patience = Patience(SETTLE_S, lambda: self.now)

    def away(self, *nodes: Node, after_s: float = 0.0) -> set[str]:
        self.now += after_s
        return set(self.patience.away(nodes))


@pytest.mark.parametrize(
    ("found", "edge"),
    [
        (Node(metadata=Meta(labels={ROLE: ""})), True),
        (
            Node(
                metadata=Meta(),
                status=NodeStatus(node_info=NodeInfo(kubelet_version="v1.32.6-kubeedge-v1.22.0")),
            ),
            True,
        ),
        (
            Node(
                metadata=Meta(labels={"node-role.kubernetes.io/master": ""}),
                status=NodeStatus(node_info=NodeInfo(kubelet_version="v1.32.6+k3s1")),
            ),
            False,
        ),
    ],
)
def test_an_edge_is_known_by_its_version_or_its_role(found: Node, *, edge: bool) -> None:
    assert is_edge(found) is edge


def test_an_edge_that_has_long_been_ready_is_believed_at_once() -> None:
    assert Watch().away(node()) == set()


def test_an_edge_that_came_back_is_away_until_it_has_settled() -> None:
    watch = Watch()
    watch.away(node())
    assert watch.away(node(ready=False), after_s=40) == {"n1"}
    back = node(since="2026-01-01T12:01:00Z", heard="2026-01-01T12:01:00Z")
    assert watch.away(back, after_s=40) == {"n1"}
    beating = node(since="2026-01-01T12:01:00Z", heard="2026-01-01T12:02:40Z")
    assert watch.away(beating, after_s=SETTLE_S - 1) == {"n1"}
    assert watch.away(beating, after_s=1) == set()


def test_an_edge_that_went_and_came_between_two_looks_is_noticed() -> None:
    watch = Watch()
    watch.away(node())
    back = node(since="2026-01-01T12:01:00Z")
    assert watch.away(back, after_s=30) == {"n1"}
    assert watch.away(back, after_s=SETTLE_S) == set()


@pytest.mark.parametrize("year", ["2000", "2090"])
def test_a_process_that_started_after_the_return_asks_the_nodes_own_clock_whatever_it_shows(
    year: str,
) -> None:
    watch = Watch()
    just = node(since=f"{year}-01-01T10:00:00Z", heard=f"{year}-01-01T10:00:20Z")
    assert watch.away(just) == {"n1"}
    assert watch.away(just, after_s=SETTLE_S) == set()


def test_another_node_than_an_edge_is_ready_when_it_says_so() -> None:
    watch = Watch()
    watch.away(node(edge=False))
    watch.away(node(edge=False, ready=False))
    assert watch.away(node(edge=False, since=NOW)) == set()


@pytest.mark.parametrize(
    ("nodes", "silent"),
    [
        ([node("a", ready=False), node("b", ready=False)], True),
        ([node("a", ready=False), node("b")], False),
        ([node("a", ready=False), node("b", ready=False), node("cloud", edge=False)], True),
        ([node("a", ready=False)], False),
        ([node("a", ready=False, edge=False), node("b", ready=False, edge=False)], False),
    ],
)
def test_all_edges_silent_at_once_are_their_control_planes_failure(
    nodes: list[Node], *, silent: bool
) -> None:
    away = Patience(SETTLE_S).away(nodes)
    assert bool(common_silence(nodes, away)) is silent


def test_a_time_that_nobody_stated_is_null_on_the_wire_and_no_reason_to_wait() -> None:
    condition = {"type": "Ready", "status": "True", "lastTransitionTime": None}
    shown = {
        "metadata": {"name": "n1", "labels": {ROLE: ""}},
        "status": {"conditions": [condition]},
    }
    found = msgspec.json.decode(msgspec.json.encode(shown), type=Node)
    assert Watch().away(found) == set()


def seen(of: Pod, away: str = "") -> NodeView:
    ours = {"app.kubernetes.io/managed-by": MANAGER, WORKLOAD: "job"}
    spec = PodSpec(containers=(Container(image=f"registry/packages@{WANT}"),))
    deployment = Deployment(
        metadata=Meta(name="job-n1", labels=ours, annotations={DIGEST: WANT}),
        spec=DeploymentSpec(template=Template(spec=spec)),
    )
    pod = Pod(metadata=Meta(name="job-n1-1", labels=ours), spec=spec, status=of.status)
    return view(kin_of(node(), "job", [deployment], [pod], []), "graz", {}, away)


def test_what_a_pod_was_before_the_cut_is_no_problem_of_its_change() -> None:
    waiting = Waiting(reason="ErrImagePull", message="dial tcp: no route to host")
    stale = Pod(
        metadata=Meta(),
        status=PodStatus(
            phase="Pending", container_statuses=(ContainerStatus(state=State(waiting=waiting)),)
        ),
    )
    assert seen(stale).problem == "image: dial tcp: no route to host"
    found = seen(stale, "back for less than 120 s")
    assert (found.online, found.problem, found.away) == (False, "", "back for less than 120 s")


@pytest.mark.parametrize(("phase", "held"), [("Pending", True), ("Running", False)])
def test_a_pod_that_its_edge_holds_back_makes_the_node_held_until_it_starts(
    phase: str, *, held: bool
) -> None:
    condition = Condition(type=HELD, status="True")
    found = seen(Pod(metadata=Meta(), status=PodStatus(phase=phase, conditions=(condition,))))
    assert (found.hold_reason is not None) is held
    if held:
        assert "job-n1-1 waits until the node's operator lets it go" in str(found.hold_reason)
