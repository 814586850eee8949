"""What an order to a Kubernetes site is made of: words, names, and what a package needs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from edgefleet.edge.contract import Digest

Manifest = dict[str, Any]

MANAGER: Final = "edgefleet"
"""Our field manager, and the value of app.kubernetes.io/managed-by."""
WORKLOAD: Final = "edgefleet.org/workload"
NODE: Final = "edgefleet.org/node"
EPOCH: Final = "edgefleet.org/epoch"
DIGEST: Final = "edgefleet.org/digest"
"""What was ordered; empty: nothing is to serve."""
BASE: Final = "edgefleet.org/base"
"""On a Deployment whose server swaps models in place: the package that its pod was made from."""
SWAP: Final = "edgefleet.org/swap"
"""On a Job that puts a model into a server: the workload."""
HELD: Final = "edgefleet.org/held"
"""On a pre-pull Job: the digest that it brings and keeps."""
SOURCE: Final = "edgefleet.org/source"
"""On a pre-pull Job: over which wire its bytes come."""
BYTES: Final = "edgefleet.org/bytes"
"""On a pre-pull Job: how many the node lacked, from the layers of what it holds."""
FENCE: Final = "edgefleet.org/fence"
HOLD: Final = "edgefleet.org/hold"
"""On a node, set by the factory: its veto, in words."""
HOLD_UPGRADE: Final = "edge.kubeedge.io/hold-upgrade"
"""KubeEdge's own mark, `"true"`. On a pod: its edge starts it only when the node's operator lets it
go. On a node: its operator wants nothing changed."""
_NAME_LENGTH: Final = 63


@dataclass(frozen=True, slots=True)
class Manner:
    """How a factory runs its pods: what is the same for all nodes and packages."""

    namespace: str
    repository: str
    """Of the packages, as nodes name it: `registry:port/prefix/packages`."""
    pull_secret: str = ""
    """Name of the secret with the registry's password; empty: none is needed."""
    state_path: str = "/var/lib/edgefleet"
    """Folder of the node for evidence and kept answers; a pod's successor finds them there."""
    port: int = 8080
    status_port: int = 8081
    node_port: int | Mapping[str, int] | None = None
    """Port of every node on which the service is reached from outside, by workload where there are
    several; None, or not named: inside only."""
    window_s: float = 60.0
    warmup_windows: int = 1
    label_rate: float = 0.1
    threads: int = 0
    drain_s: float = 10.0
    linger_s: float = 3.0
    """A pod that was told to end accepts until nobody asked for so long: until all proxies know."""
    linger_max_s: float = 120.0
    min_ready_s: int = 2
    progress_s: int = 600
    priority_class: str = "system-node-critical"
    """Of what serves; empty: none. Only this one's pods a kubelet short of disk leaves running."""
    tolerations: Sequence[Mapping[str, str]] = ()
    """For taints of the factory's own."""
    hold_upgrade: bool = False
    """An edge of KubeEdge starts a new server when its own operator says so."""

    def node_port_of(self, workload: str) -> int | None:
        """Return the port of every node for a workload; None: it has none."""
        if isinstance(self.node_port, Mapping):
            return self.node_port.get(workload)
        return self.node_port


def object_name(*parts: str) -> str:
    """Return a name that Kubernetes takes (RFC 1123, 63 characters), unique for `parts`."""
    plain = "-".join(parts)
    name = re.sub(r"[^a-z0-9-]+", "-", plain.lower()).strip("-")
    if name == plain and len(name) <= _NAME_LENGTH:
        return name
    mark = hashlib.sha256(plain.encode()).hexdigest()[:8]
    begin = name[: _NAME_LENGTH - 9].rstrip("-")
    return f"{begin}-{mark}" if begin else mark


def image(manner: Manner, digest: Digest) -> str:
    """Return the reference of a package's image."""
    return f"{manner.repository}@{digest}"


def digest_in(reference: str) -> Digest | None:
    """Return the digest of an image reference, None if it has none."""
    found = re.search(r"@(sha256:[0-9a-f]{64})$", reference)
    return Digest(found[1]) if found else None


def shadow_map(workload: str) -> str:
    """Return the name of the map with a workload's shadow orders."""
    return object_name("edgefleet-shadow", workload)


def shadow_key(node: str) -> str:
    """Return the file name of a node's shadow order."""
    return f"{object_name(node)}.json"
