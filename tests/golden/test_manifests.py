"""What Kubernetes is asked to hold, to the letter; and names that it always takes."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from edgefleet.edge.contract import Needs, parse_digest
from edgefleet.fleet import manifests
from edgefleet.fleet.manifest_names import Manifest, Manner, digest_in, image, object_name
from tests.golden.files import same_as_golden

OLD = parse_digest("sha256:" + 64 * "a")
NEW = parse_digest("sha256:" + 64 * "b")
MANNER = Manner("edgefleet", "registry:5000/plant/packages", pull_secret="registry")
NEEDS = Needs(memory_mb=320, cpu_millis=500)


def deployed(**changed: object) -> Manifest:
    order = {
        "workload": "defect-detection",
        "node": "graz-cam-1",
        "want": NEW,
        "was": OLD,
        "epoch": 7,
        "needs": NEEDS,
    }
    return manifests.deployment(MANNER, **{**order, **changed})  # type: ignore[arg-type]


ON_A_DEVICE = Needs(memory_mb=320, cpu_millis=500, devices={"nvidia.com/gpu": 1})


def swapped(*, held: bool) -> Manifest:
    return manifests.swap_job(
        MANNER,
        workload="defect-detection",
        node="graz-cam-1",
        want=NEW,
        epoch=7,
        base=OLD,
        held=held,
    )


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("deployment", deployed()),
        ("deployment-first", deployed(was=None)),
        ("deployment-stopped", deployed(want=None)),
        ("deployment-swap", deployed(was=None, needs=ON_A_DEVICE, swap=True)),
        ("swap-job", swapped(held=True)),
        ("prepull-job", manifests.prepull_job(MANNER, node="graz-cam-1", digest=NEW)),
        ("service", manifests.service(MANNER, "defect-detection")),
        ("fence", manifests.fence(MANNER, "defect-detection", 7)),
    ],
)
def test_a_manifest_is_as_it_was_read_last(name: str, made: Manifest) -> None:
    same_as_golden(yaml.safe_dump(made, sort_keys=False, width=100).rstrip(), f"{name}.yaml")


def test_each_workload_of_a_cluster_has_its_own_node_port_or_none() -> None:
    manner = replace(MANNER, node_port={"caps": 30080, "lids": 30081})
    specs = [manifests.service(manner, workload)["spec"] for workload in ("caps", "lids", "seals")]
    assert [spec["ports"][0].get("nodePort") for spec in specs] == [30080, 30081, None]
    assert [spec["type"] for spec in specs] == ["NodePort", "NodePort", "ClusterIP"]


def test_a_stopped_node_keeps_its_deployment_so_that_the_fence_holds() -> None:
    stopped = deployed(want=None)
    assert stopped["spec"]["replicas"] == 0
    assert stopped["metadata"]["annotations"]["edgefleet.org/epoch"] == "7"


def test_the_selector_never_changes_with_the_package() -> None:
    assert deployed()["spec"]["selector"] == deployed(want=OLD, was=None)["spec"]["selector"]


def test_an_exclusive_device_is_asked_for_on_both_sides() -> None:
    needs = Needs(devices={"nvidia.com/gpu": 1})
    server = deployed(needs=needs)["spec"]["template"]["spec"]["containers"][0]
    for side in ("requests", "limits"):
        assert server["resources"][side]["nvidia.com/gpu"] == "1"


def test_the_way_back_is_ordered_from_the_image_that_the_pod_was_made_from() -> None:
    run = swapped(held=False)["spec"]["template"]["spec"]["containers"][0]
    assert digest_in(run["image"]) == OLD
    assert run["command"][3:5] == ["order", "/state/store"]


def test_a_reference_carries_its_digest() -> None:
    assert digest_in(image(MANNER, NEW)) == NEW
    assert digest_in("registry:5000/plant/packages:latest") is None


@given(st.lists(st.text(min_size=1, max_size=90), min_size=1, max_size=3))
def test_any_name_becomes_one_that_kubernetes_takes(parts: list[str]) -> None:
    name = object_name(*parts)
    assert len(name) <= 63
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name)


@given(st.text(min_size=1), st.text(min_size=1))
def test_different_nodes_have_different_names(one: str, other: str) -> None:
    assert one == other or object_name("job", one) != object_name("job", other)
