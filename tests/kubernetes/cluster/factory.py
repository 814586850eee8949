"""One factory for real: a network, a registry, a control plane, and nodes that run containers."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import URLError

from edgefleet.fleet.manifest_names import MANAGER, Manifest, Manner
from edgefleet.model.oci import base_image
from infra.images import base
from tests.kubernetes.cluster.binaries import program
from tests.kubernetes.cluster.control_plane import ControlPlane
from tests.kubernetes.cluster.network import Network
from tests.kubernetes.cluster.real_node import RealNode
from tests.kubernetes.cluster.remains import Remains, wait_for
from tests.registry.opened import opened
from tests.registry.server import RegistryServer

NAMESPACE = "edgefleet"
PREFIX = "plant"
ROOT = Path(__file__).parents[3]
_SHORT = (
    "--default-not-ready-toleration-seconds=20",
    "--default-unreachable-toleration-seconds=20",
)
"""A pod that says nothing itself is taken away after 20 s instead of 300."""
_PATHS = {
    "ConfigMap": "api/v1/namespaces/{}/configmaps",
    "Service": "api/v1/namespaces/{}/services",
    "Deployment": "apis/apps/v1/namespaces/{}/deployments",
    "Job": "apis/batch/v1/namespaces/{}/jobs",
}


@dataclass
class Factory:
    """Up as long as `running` lasts."""

    remains: Remains
    network: Network
    registry: RegistryServer
    plane: ControlPlane
    driver: Path
    """Kubeconfig of edgefleet's own account."""
    nodes: list[RealNode] = field(default_factory=list)

    def add_node(self, **labels: str) -> RealNode:
        """Return one more node, Ready."""
        name = f"{self.plane.name}-node-{len(self.nodes)}"
        registries = {self.registry.address: self.registry.url}
        node = RealNode(self.remains, self.plane, self.network, name, registries, labels)
        self.nodes.append(node)
        return node

    def manner(self, **options: Any) -> Manner:
        """Return how this factory runs its pods."""
        repository = f"{self.registry.address}/{PREFIX}/packages"
        state = str(self.remains.root / "state")
        return Manner(NAMESPACE, repository, state_path=state, **options)

    def push(self, package: Path, tag: str) -> str:
        """Store a package in the registry and return its digest."""
        with opened(self.registry.url, PREFIX) as registry:
            return registry.push(package, tag)

    def apply(self, manifest: Manifest) -> Any:
        """Send a manifest as our field manager does, and return the object."""
        folder = _PATHS[manifest["kind"]].format(NAMESPACE)
        path = f"/{folder}/{manifest['metadata']['name']}?fieldManager={MANAGER}"
        return self.plane.ask("PATCH", path, manifest, "application/apply-patch+yaml")

    def pods(self, selector: str) -> list[Any]:
        """Return the pods with these labels."""
        path = f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector={selector}"
        found: list[Any] = self.plane.ask("GET", path)["items"]
        return found

    def clear(self) -> None:
        """Take away what was ordered, and wait until no pod is left."""
        for kind in ("Deployment", "Job"):
            path = f"/{_PATHS[kind].format(NAMESPACE)}?propagationPolicy=Background"
            self.plane.ask("DELETE", path)

        def empty() -> bool:
            try:
                return not self.pods("")
            except URLError:
                return False

        wait_for(empty, "no pod is left", 120)


@contextmanager
def running(name: str, nodes: int = 1) -> Iterator[Factory]:
    """Yield a factory, and take everything away at the end, however it comes."""
    remains = Remains(Path(tempfile.gettempdir()) / f"ef-{name}-{os.getpid()}")
    registry: RegistryServer | None = None
    try:
        network = Network(remains)
        registry = RegistryServer(remains.root / "registry", host=network.address)
        with opened(registry.url, PREFIX) as images:
            images.push_base(base_image(_base()), ("latest",))
        plane = ControlPlane(remains, name, network.address, api_options=_SHORT)
        prepare(plane)
        factory = Factory(remains, network, registry, plane, driver_of(plane))
        for _ in range(nodes):
            factory.add_node()
        yield factory
    finally:
        if registry is not None:
            registry.close()
        remains.close()


def prepare(plane: ControlPlane) -> None:
    """Do what docs/kubernetes.md asks of a cluster's administrator."""
    command = [program("kubectl"), "--kubeconfig", plane.kubeconfig, "apply", "-f", "infra/k3s/"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={"HOME": str(plane.folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"kubectl apply: {done.stderr}")


def driver_of(plane: ControlPlane) -> Path:
    """Return a kubeconfig with the rights of infra/k3s/rbac.yaml, and no other."""
    account = f"system:serviceaccount:{NAMESPACE}:edgefleet"
    return plane.config_of("driver", account, "system:serviceaccounts")


def _base() -> Any:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base.build(base.REQUIREMENTS, cache / "edgefleet" / "images")
