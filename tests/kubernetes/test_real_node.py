"""What the manifests bring about on a real node: kubelet, containerd, a real edge server."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from edgefleet.edge.contract import Digest, Needs
from edgefleet.fleet import manifests
from edgefleet.fleet.manifest_names import WORKLOAD, Manner
from edgefleet.fleet.pods import EDGE
from edgefleet.model.signature import TRUST_FOLDER, public_keys
from tests.edge.tiny import DARK, tiny_package
from tests.kubernetes.cluster.factory import NAMESPACE, Factory
from tests.kubernetes.cluster.load import Load
from tests.kubernetes.cluster.remains import wait_for
from tests.kubernetes.hall import PROXY_S

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(300)]

JOB = "defect-detection"
NODE_PORT = 30080
NEEDS = Needs(memory_mb=300, cpu_millis=100)


@dataclass
class Stage:
    """A factory with two packages in its registry, and the keys that nodes trust."""

    factory: Factory
    manner: Manner
    old: Digest
    new: Digest

    @property
    def node(self) -> str:
        return self.factory.nodes[0].name

    def order(self, want: Digest, was: Digest | None, epoch: int) -> None:
        self.factory.apply(
            manifests.deployment(
                self.manner,
                workload=JOB,
                node=self.node,
                want=want,
                was=was,
                epoch=epoch,
                needs=NEEDS,
            )
        )

    def summaries(self) -> list[dict[str, Any]]:
        """Return what the pods of the workload say of themselves."""
        found = []
        for pod in self.factory.pods(f"{WORKLOAD}={JOB}"):
            address = pod["status"].get("podIP")
            if address:
                url = f"http://{address}:{self.manner.status_port}/metrics/summary"
                try:
                    with urllib.request.urlopen(url, timeout=2) as answer:
                        found.append(json.loads(answer.read()))
                except (urllib.error.URLError, TimeoutError, ConnectionError):
                    continue
        return found

    def wait_alone(self, digest: Digest) -> None:
        """Wait until one pod is left, and it says itself that it serves `digest`."""

        def alone() -> bool:
            said = self.summaries()
            pods = self.factory.pods(f"{WORKLOAD}={JOB}")
            return len(pods) == len(said) == 1 and (
                said[0]["digest"] == digest and said[0]["ready"] and said[0]["self_check"]["passed"]
            )

        wait_for(alone, f"{digest[:19]} alone on {self.node}", PROXY_S)


@pytest.fixture(scope="module")
def stage(factory: Factory, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    folder = tmp_path_factory.mktemp("packages")
    keys = folder / "keys"
    digests = []
    for version, bias in (("1", 0.0), ("2", 0.5)):
        tiny_package(folder / version, keys, bias=bias, version=version)
        digests.append(Digest(factory.push(folder / version, f"tiny-{version}")))
    manner = factory.manner(node_port=NODE_PORT, window_s=2.0, linger_s=3.0)
    factory.apply(manifests.trust(manner, public_keys(keys / TRUST_FOLDER)))
    factory.apply(manifests.service(manner, JOB))
    return Stage(factory, manner, *digests)


def pulled(stage: Stage, digest: Digest) -> Any:
    """Bring a package by its Job, and return the pod that holds it."""
    job = manifests.prepull_job(stage.manner, node=stage.node, digest=digest)
    stage.factory.apply(job)
    selector = f"job-name={job['metadata']['name']}"

    def held() -> Any:
        pods = stage.factory.pods(selector)
        return pods[0] if pods and pods[0]["status"]["phase"] == "Running" else None

    return wait_for(held, f"{digest[:19]} held on {stage.node}", 90)


def layers(factory: Factory, digest: Digest) -> dict[str, str]:
    """Return the digest of each layer of a package, by kind (the last of a kind)."""
    path = f"{factory.registry.url}/v2/plant/packages/manifests/{digest}"
    kind = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
    asked = urllib.request.Request(path, headers=kind)  # noqa: S310 - our own registry
    with urllib.request.urlopen(asked, timeout=5) as answer:  # noqa: S310 - as above
        manifest = json.loads(answer.read())
    return {
        item["annotations"]["org.edgefleet.layer"]: item["digest"] for item in manifest["layers"]
    }


def test_a_package_goes_out_and_is_replaced_under_load_without_a_failed_request(
    stage: Stage,
) -> None:
    factory = stage.factory
    pod = pulled(stage, stage.old)
    assert pod["status"]["containerStatuses"][0]["imageID"].endswith(stage.old)
    stage.order(stage.old, None, 1)
    stage.wait_alone(stage.old)

    before = factory.registry.bytes_served()
    pulled(stage, stage.new)
    model = layers(factory, stage.new)["model"]
    moved = {
        name.rpartition("/")[2]: size - before.get(name, 0)
        for name, size in factory.registry.bytes_served().items()
        if size > before.get(name, 0)
    }
    # The model's layer alone, besides the manifest and the configuration that name it.
    assert max(moved, key=moved.__getitem__) == model
    assert sum(moved.values()) - moved[model] < 6000

    address = factory.nodes[0].cable.address
    wait_for(lambda: open_port(address), "the service on the node's port", PROXY_S)
    with Load(address, NODE_PORT, "/v2/models/tiny/raw", DARK) as load:
        wait_for(lambda: load.served_by(stage.old) > 100, "answers of the old one")
        stage.order(stage.new, stage.old, 2)
        wait_for(lambda: load.served_by(stage.new) > 100, "answers of the new one", 90)
        stage.wait_alone(stage.new)
        stage.order(stage.old, stage.new, 3)
        stage.wait_alone(stage.old)
        served = load.served_by(stage.old)
        wait_for(lambda: load.served_by(stage.old) > served + 100, "answers of the old one again")
    print(f"{len(load.answers)} requests, {len(load.failed)} failed: {load.failed[:3]}")  # noqa: T201
    assert load.failed == []
    assert {answer.digest for answer in load.answers} == {stage.old, stage.new}


def open_port(address: str) -> bool:
    try:
        url = f"http://{address}:{NODE_PORT}/health"
        with urllib.request.urlopen(url, timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_a_package_whose_signature_is_not_trusted_never_gets_to_hold(
    stage: Stage, tmp_path: Path
) -> None:
    tiny_package(tmp_path / "foreign", tmp_path / "other-keys", version="3")
    digest = Digest(stage.factory.push(tmp_path / "foreign", "tiny-3"))
    job = manifests.prepull_job(stage.manner, node=stage.node, digest=digest)
    stage.factory.apply(job)
    selector = f"job-name={job['metadata']['name']}"

    def ended() -> Any:
        pods = stage.factory.pods(selector)
        statuses = pods[0]["status"].get("initContainerStatuses", ()) if pods else ()
        return next(
            (s["state"]["terminated"] for s in statuses if "terminated" in s["state"]), None
        )

    ending = wait_for(ended, "the verifier's end", 60)
    assert isinstance(ending, dict)
    assert ending["exitCode"] == 4
    assert "signed by none of the trusted keys" in ending["message"]


def test_a_cut_cable_neither_stops_nor_replaces_what_serves(stage: Stage) -> None:
    # As the node has it: another shadow would be another pod.
    stage.order(stage.old, stage.new, 4)
    stage.wait_alone(stage.old)
    [before] = stage.factory.pods(f"{WORKLOAD}={JOB}")
    node = stage.factory.nodes[0]
    node.cable.cut()
    try:
        wait_for(lambda: node.condition("Ready") == "Unknown", "the node is missed", 60)
    finally:
        node.cable.mend()
    wait_for(node.ready, "the node is back", 60)
    stage.wait_alone(stage.old)
    [after] = stage.factory.pods(f"{WORKLOAD}={JOB}")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["status"]["containerStatuses"][0]["restartCount"] == 0


def test_a_server_told_to_end_before_it_handles_signals_ends_at_once(stage: Stage) -> None:
    manifest = manifests.deployment(
        stage.manner,
        workload="early",
        node=stage.node,
        want=stage.old,
        was=None,
        epoch=1,
        needs=NEEDS,
    )
    [server] = manifest["spec"]["template"]["spec"]["containers"]
    # As every server is before Python has run its first line.
    server |= {"command": [EDGE[0], "-c", "import time; time.sleep(600)"], "args": []}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        del server[probe]
    pods = partial(stage.factory.pods, f"{WORKLOAD}=early")
    stage.factory.apply(manifest)
    wait_for(lambda: any(pod["status"]["phase"] == "Running" for pod in pods()), "it runs", 60)
    path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{manifest['metadata']['name']}"
    stage.factory.plane.ask("DELETE", f"{path}?propagationPolicy=Background")
    # Its grace is more than two minutes.
    wait_for(lambda: not pods(), "its pod is gone", 60)
