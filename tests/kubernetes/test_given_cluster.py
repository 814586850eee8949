"""A fleet in a cluster that exists: the one that KUBECONFIG names, else one made beside it.

Nothing of the fleet is left in it, and a cluster that holds the like already is not touched.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kubernetes.cluster.binaries import program
from tests.kubernetes.cluster.control_plane import ControlPlane
from tests.kubernetes.cluster.given import Occupied
from tests.kubernetes.cluster.hollow import API_OPTIONS, NAMESPACE, layout
from tests.kubernetes.cluster.remains import Remains, run
from tests.kubernetes.cluster.watched import skip_without
from tests.kubernetes.test_hollow_fleet import package, staged

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(600)]

NODES = layout(2, 6)
KINDS = "namespaces,nodes,customresourcedefinitions"


@pytest.fixture(scope="module")
def kubeconfig() -> Iterator[Path]:
    skip_without("kwok", "addresses of pods")
    if given := os.environ.get("KUBECONFIG"):
        yield Path(given)
        return
    remains = Remains(Path(tempfile.gettempdir()) / f"ef-given-{os.getpid()}-{time.time_ns()}")
    try:
        yield ControlPlane(remains, "somebody", grace_s=40, api_options=API_OPTIONS).kubeconfig
    finally:
        remains.close()


def kubectl(kubeconfig: Path, *words: str) -> str:
    return run(program("kubectl"), f"--kubeconfig={kubeconfig}", *words).stdout


def test_a_cluster_that_exists_carries_a_fleet_and_keeps_nothing_of_it(kubeconfig: Path) -> None:
    before = kubectl(kubeconfig, "get", KINDS, "--output=name")
    with staged(NODES, kubeconfig) as stage:
        for name, of in NODES.items():
            assert {view.node for view in stage.views([name])} == set(of)
        [first, second] = stage.sites
        nodes = [view.node for view in stage.views([first])]
        for digest, epoch in ((package(1), 1), (package(2), 2)):
            for node in nodes:
                stage.sites[first].hold(node, digest)
            stage.order(stage.views([first]), digest, epoch)
            stage.wait_serving(nodes, digest)
        assert all(view.serving is None for view in stage.views([second]))
    assert kubectl(kubeconfig, "get", KINDS, "--output=name") == before


def test_a_namespace_of_the_same_name_is_not_touched(kubeconfig: Path) -> None:
    kubectl(kubeconfig, "create", "namespace", NAMESPACE)
    try:
        with pytest.raises(Occupied, match=f"namespace/{NAMESPACE}"), staged(NODES, kubeconfig):
            pytest.fail("a fleet was made in it")
        assert NAMESPACE in kubectl(kubeconfig, "get", "namespaces", "--output=name")
    finally:
        kubectl(kubeconfig, "delete", "namespace", NAMESPACE)
