"""What became of a package is read from its Job, its pod, and what the node is short of."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from edgefleet.adapters.kubernetes.objects import (
    Condition,
    Container,
    ContainerStatus,
    Deployment,
    DeploymentSpec,
    Ended,
    Job,
    Meta,
    Node,
    NodeStatus,
    Pod,
    PodSpec,
    PodStatus,
    Running,
    State,
    Template,
    Waiting,
)
from edgefleet.adapters.kubernetes.pulls import pull_of
from edgefleet.adapters.kubernetes.views import kin_of, view
from edgefleet.edge.contract import parse_digest
from edgefleet.fleet.inventory import PullState
from edgefleet.fleet.manifest_names import DIGEST, MANAGER, WORKLOAD

WANT = parse_digest("sha256:" + 64 * "b")
JOB = Job(metadata=Meta(name="hold", annotations={DIGEST: WANT}))
READY = Condition(type="Ready", status="True")
FULL = Condition(type="DiskPressure", status="True", message="kubelet has disk pressure")
NO_PLACE = Condition(
    type="PodScheduled",
    status="False",
    reason="Unschedulable",
    message="0/2 nodes are available: 1 node(s) had untolerated taint(s)",
)


def node(*conditions: Condition) -> Node:
    return Node(metadata=Meta(name="n1"), status=NodeStatus(conditions=(READY, *conditions)))


HEALTHY = node()


def container(**state: object) -> ContainerStatus:
    return ContainerStatus(name="hold", state=State(**state))  # type: ignore[arg-type]


def pod(phase: str, *statuses: ContainerStatus, begun: str = "", **more: object) -> Pod:
    status = PodStatus(phase=phase, start_time=begun, container_statuses=statuses, **more)  # type: ignore[arg-type]
    return Pod(metadata=Meta(name="hold-1"), status=status)


@dataclass(frozen=True)
class Case:
    pod: Pod
    state: PullState
    reason: str
    node: Node = HEALTHY


CASES = {
    "the registry is away": Case(
        pod(
            "Pending",
            container(
                waiting=Waiting(reason="ErrImagePull", message="dial tcp: connection refused")
            ),
        ),
        PullState.PULLING,
        "",
    ),
    "its signature is not trusted": Case(
        pod("Failed", container(terminated=Ended(exit_code=4, message="signed by none"))),
        PullState.FAILED,
        "hold: signed by none",
        node(FULL),
    ),
    "no disk for a pod": Case(
        pod("Pending", conditions=(NO_PLACE,)),
        PullState.FAILED,
        "no disk: kubelet has disk pressure",
        node(FULL),
    ),
    "no place yet": Case(pod("Pending", conditions=(NO_PLACE,)), PullState.PULLING, ""),
    "taken away for want of disk": Case(
        pod("Succeeded", container(terminated=Ended())),
        PullState.FAILED,
        "no disk: kubelet has disk pressure",
        node(FULL),
    ),
    "somebody ended it": Case(
        pod("Succeeded", container(terminated=Ended())), PullState.FAILED, "its pod ended"
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_became_of_a_pull_is_told_in_words(case: Case) -> None:
    pull = pull_of(case.node, JOB, case.pod)
    assert (pull.state, pull.reason) == (case.state, case.reason)


@pytest.mark.parametrize(
    ("begun", "running", "seconds"),
    [
        ("2026-01-01T10:00:00Z", "2026-01-01T10:00:07Z", 7.0),
        pytest.param("2000-01-01T00:00:00Z", "2000-01-01T00:00:07Z", 7.0, id="far behind"),
        pytest.param("2090-01-01T00:00:00Z", "2090-01-01T00:00:07Z", 7.0, id="far ahead"),
        pytest.param("2026-01-01T10:09:00Z", "2026-01-01T10:00:07Z", 0.0, id="set back meanwhile"),
    ],
)
def test_a_nodes_wrong_clock_does_not_change_how_long_its_pull_took(
    begun: str, running: str, seconds: float
) -> None:
    held = pod("Running", container(running=Running(started_at=running)), begun=begun)
    pull = pull_of(node(), JOB, held)
    assert (pull.state, pull.seconds) == (PullState.PRESENT, seconds)


def test_a_change_that_finds_no_place_says_what_the_node_is_short_of() -> None:
    ours = {"app.kubernetes.io/managed-by": MANAGER, WORKLOAD: "job"}
    spec = PodSpec(containers=(Container(image=f"registry/packages@{WANT}"),))
    deployment = Deployment(
        metadata=Meta(name="job-n1", labels=ours, annotations={DIGEST: WANT}),
        spec=DeploymentSpec(template=Template(spec=spec)),
    )
    waiting = Pod(
        metadata=Meta(name="job-n1-1", labels=ours),
        spec=spec,
        status=PodStatus(phase="Pending", conditions=(NO_PLACE,)),
    )

    def problem(of: Node) -> str:
        return view(kin_of(of, "job", [deployment], [waiting], []), "graz", {}).problem

    assert problem(node(FULL)) == "no place: kubelet has disk pressure"
    assert problem(node()) == f"no place: {NO_PLACE.message}"
