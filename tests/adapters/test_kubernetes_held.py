"""A factory's veto is read from its node, and KubeEdge's own from whatever carries it."""

import pytest

from edgefleet.adapters.kubernetes.objects import Deployment, DeploymentSpec, Meta, Node, Pod
from edgefleet.adapters.kubernetes.views import Kin, held, view
from edgefleet.edge.contract import Needs

HOLD = "edgefleet.org/hold"
KUBEEDGE = {"edge.kubeedge.io/hold-upgrade": "true"}
STOPPED = DeploymentSpec(replicas=0)


def kin(node: Meta, deployment: Meta | None = None, pod: Meta | None = None) -> Kin:
    return Kin(
        node=Node(metadata=node),
        deployment=Deployment(metadata=deployment, spec=STOPPED) if deployment else None,
        pods=(Pod(metadata=pod),) if pod else (),
        free=Needs(),
        jobs=(),
        swaps=(),
    )


PLAIN = Meta(name="n1")


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (kin(PLAIN), None),
        (kin(Meta(name="n1", annotations={HOLD: "audit until Friday"})), "audit until Friday"),
        (kin(Meta(name="n1", labels={HOLD: "audit"})), "audit"),
        (kin(Meta(name="n1", labels={HOLD: ""})), "no reason given"),
        (kin(Meta(name="n1", annotations=KUBEEDGE)), "KubeEdge holds changes"),
        (kin(PLAIN, Meta(name="d", annotations=KUBEEDGE)), "KubeEdge holds changes"),
        (kin(PLAIN, None, Meta(name="p", annotations=KUBEEDGE)), None),
        (kin(PLAIN, Meta(name="d", annotations=dict.fromkeys(KUBEEDGE, "false"))), None),
    ],
)
def test_who_holds_a_node_and_in_which_words(found: Kin, reason: str | None) -> None:
    said = held(found)
    assert (said or "").startswith(reason or "")
    assert (said is None) == (reason is None)
    assert view(found, "north", {}).hold_reason == said
