"""Who owns which field is the API server's to say: orders of every kind, one after the other.

A control plane alone: a node is a name here, and nothing runs on it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgefleet.adapters.kubernetes.api import Api
from edgefleet.adapters.kubernetes.cluster import Cluster
from edgefleet.adapters.kubernetes.owners import GIVE_BACK, Owned
from edgefleet.adapters.kubernetes.site import KubernetesSite
from edgefleet.edge.contract import Digest
from edgefleet.errors import Refused
from edgefleet.fleet.inventory import Change
from edgefleet.fleet.manifest_names import DIGEST, Manner, object_name
from edgefleet.ports import Image
from tests.kubernetes.cluster.binaries import Missing, program
from tests.kubernetes.cluster.control_plane import ControlPlane
from tests.kubernetes.cluster.factory import NAMESPACE, driver_of, prepare
from tests.kubernetes.cluster.remains import Remains

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(300)]

NODE = "cam-1"
OLD, NEW, OTHER = (Digest(f"sha256:{digit * 64}") for digit in "abc")
MANNER = Manner(NAMESPACE, "registry.invalid/plant/packages")


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    try:
        program("kube-apiserver")
    except Missing as missing:
        pytest.skip(str(missing))
    remains = Remains(Path(tempfile.gettempdir()) / f"ef-owners-{os.getpid()}")
    try:
        plane = ControlPlane(remains, "graz")
        prepare(plane)
        plane.ask("POST", "/api/v1/nodes", {"metadata": {"name": NODE}})
        yield plane
        for one in plane.programs.values():
            one.kill()
    finally:
        remains.close()


@pytest.fixture
def cluster(plane: ControlPlane) -> Iterator[Cluster]:
    with watched(plane, MANNER) as made:
        yield made


@contextmanager
def watched(plane: ControlPlane, manner: Manner) -> Iterator[Cluster]:
    api = Api.of_context("graz", driver_of(plane), None)
    made = Cluster(api, manner, lambda digest: Image(digest, ()), {})
    try:
        yield made
    finally:
        made.close()


def ordered(cluster: Cluster, workload: str) -> Digest | None:
    return next(v.ordered for v in KubernetesSite("graz", cluster).snapshot(workload))


def found(plane: ControlPlane, workload: str) -> Any:
    name = object_name(workload, NODE)
    return plane.ask("GET", f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{name}")


def test_a_node_that_was_swapped_takes_every_kind_of_order_after_it(
    plane: ControlPlane, cluster: Cluster
) -> None:
    job = "swapped-once"
    orders = [
        Change(job, NODE, "graz", OLD, None, 1, swap=True),
        Change(job, NODE, "graz", NEW, OLD, 2, swap=True),
        Change(job, NODE, "graz", OTHER, NEW, 3),
        Change(job, NODE, "graz", OLD, OTHER, 4, swap=True),
        Change(job, NODE, "graz", NEW, OLD, 5, swap=True),
        Change(job, NODE, "graz", None, NEW, 6),
    ]
    for change in orders:
        cluster.order(change)
        assert ordered(cluster, job) == change.want, change
        assert found(plane, job)["metadata"]["annotations"][DIGEST] == (change.want or "")
    assert found(plane, job)["spec"]["replicas"] == 0


def test_what_somebody_else_owns_after_a_swap_is_named_at_once_and_not_overwritten(
    plane: ControlPlane, cluster: Cluster
) -> None:
    job = "owned-by-two"
    cluster.order(Change(job, NODE, "graz", OLD, None, 1, swap=True))
    cluster.order(Change(job, NODE, "graz", NEW, OLD, 2, swap=True))
    path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{object_name(job, NODE)}"
    theirs = {"spec": {"minReadySeconds": 77, "progressDeadlineSeconds": 777}}
    kind = "application/merge-patch+json"
    plane.ask("PATCH", f"{path}?fieldManager=kubectl-edit", theirs, kind)
    before = cluster.api.calls["patch deployments"]
    with pytest.raises(Owned) as refused:
        cluster.order(Change(job, NODE, "graz", OTHER, NEW, 3))
    assert cluster.api.calls["patch deployments"] == before + 1
    assert refused.value.owners == {"edgefleet", "kubectl-edit"}
    assert '"kubectl-edit"' in str(refused.value)
    assert str(refused.value).endswith(GIVE_BACK)
    assert found(plane, job)["spec"]["minReadySeconds"] == 77


def test_a_second_workload_at_the_one_node_port_is_told_to_have_its_own(
    plane: ControlPlane,
) -> None:
    caps, lids = (Change(job, NODE, "graz", OLD, None, 1) for job in ("caps", "lids"))
    with watched(plane, replace(MANNER, node_port=30080)) as cluster:
        cluster.order(caps)
        with pytest.raises(Refused) as refused:
            cluster.order(lids)
        assert ordered(cluster, "lids") is None
    assert str(refused.value) == (
        "lids in graz: node port 30080 is of another workload, or of somebody's Service. Give each "
        "workload its own in the file of the clusters (docs/clusters.md): "
        "pods: {node_port: {lids: PORT, ...}}"
    )
    with watched(plane, replace(MANNER, node_port={"caps": 30080, "lids": 30081})) as cluster:
        cluster.order(lids)
        assert ordered(cluster, "lids") == OLD
