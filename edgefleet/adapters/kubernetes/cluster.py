"""One API server, watched once for all the factories behind it, and written to.

A write reads what is known, decides, and carries the resourceVersion that it read: whoever wrote in
between is noticed. Whoever else owns a field (somebody's kubectl) is a Conflict that names him,
never overwritten.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from edgefleet.adapters.kubernetes.answers import Answers
from edgefleet.adapters.kubernetes.api import Absent, Api
from edgefleet.adapters.kubernetes.edges import Patience, common_silence
from edgefleet.adapters.kubernetes.forwarded import Ask, Forwarded
from edgefleet.adapters.kubernetes.informer import Informer, Kept
from edgefleet.adapters.kubernetes.objects import ConfigMap, Deployment, Job, Node, Pod
from edgefleet.adapters.kubernetes.owners import Owned
from edgefleet.adapters.kubernetes.views import drifted, holds, ordered, swaps
from edgefleet.edge.contract import Digest, parse_digest
from edgefleet.errors import Conflict, Fenced, Refused, Unreachable
from edgefleet.fleet import manifests
from edgefleet.fleet.inventory import Change
from edgefleet.fleet.manifest_names import (
    BASE,
    DIGEST,
    EPOCH,
    FENCE,
    MANAGER,
    NODE,
    Manifest,
    Manner,
    object_name,
    shadow_map,
)
from edgefleet.fleet.needs import needs_of
from edgefleet.ports import Image

_OURS: Final = f"app.kubernetes.io/managed-by={MANAGER}"
SETTLE_S: Final = 120.0
_TRIES: Final = 4
_TAKEN: Final = "provided port is already allocated"
"""In the API server's words when another Service has the node port."""


class Cluster:
    """One control plane. Threads may share it; `close` when done."""

    def __init__(
        self,
        api: Api,
        manner: Manner,
        describe: Callable[[Digest], Image],
        keys: Mapping[str, str],
        settle_s: float = SETTLE_S,
        ask: Ask | None = None,
    ) -> None:
        """`describe` knows the layers of packages, `keys` are the public keys that nodes trust.

        `settle_s`: how long an edge of KubeEdge that is back is not judged. `ask`: a Prometheus
        that knows what pods answer; None: they are asked directly.
        """
        self.api = api
        self.manner = manner
        self.describe = describe
        self._keys = keys
        space = f"namespaces/{manner.namespace}"
        self._paths = {
            "Deployment": f"/apis/apps/v1/{space}/deployments",
            "Job": f"/apis/batch/v1/{space}/jobs",
            "ConfigMap": f"/api/v1/{space}/configmaps",
            "Service": f"/api/v1/{space}/services",
        }
        self.nodes = Informer(api, "/api/v1/nodes", Node)
        # Of all namespaces: what others run takes its part of a node.
        self.pods = Informer(api, "/api/v1/pods", Pod, group=_place)
        deployments = self._paths["Deployment"]
        self.deployments = Informer(api, deployments, Deployment, _OURS, group=_noted)
        self.jobs = Informer(api, self._paths["Job"], Job, _OURS, group=_noted)
        self._fences = Informer(api, self._paths["ConfigMap"], ConfigMap, f"{FENCE}=epoch")
        port = manner.status_port
        self.answers = Answers(port) if ask is None else Forwarded(ask, port)
        self.settle_s = settle_s
        self._patience = Patience(settle_s)
        self._prepared: set[str] = set()
        self._raising = threading.Lock()

    def close(self) -> None:
        """Stop watching."""
        for informer in (self.nodes, self.pods, self.deployments, self.jobs, self._fences):
            informer.close()
        self.answers.close()

    def away(self) -> Mapping[str, str]:
        """Return the edges of KubeEdge that are not to be judged now: name -> why, in words.

        Raises:
            Unreachable: all are: that is their control plane's failure, and says nothing of them.
        """
        nodes = self.nodes.all().values()
        found = self._patience.away(nodes)
        silence = common_silence(nodes, found)
        if silence:
            raise Unreachable(f"{self.api.name}: {silence}")
        return found

    def order(self, change: Change) -> None:
        """Order a change.

        Raises:
            Fenced: a higher epoch is known for the workload.
            Conflict: `was` does not hold, or somebody else owns what would be changed.
            Refused: the workload's node port is somebody else's.
        """
        self._prepare(change.workload)
        self.raise_fence(change.workload, change.epoch)
        for number in range(_TRIES):
            try:
                self._replace(change)
            except Conflict as conflict:
                # The controller counts revisions in the same object: read again, decide again.
                if isinstance(conflict, Owned) or number + 1 == _TRIES:
                    raise
                self._read(change)
            else:
                return

    def hold(self, node: str, digest: Digest, source: str) -> None:
        """Bring a package to a node and keep it there."""
        self._prepare("")
        lacking = self._lacking(node, digest)
        job = manifests.prepull_job(
            self.manner, node=node, digest=digest, source=source, lacking_bytes=lacking
        )
        self.jobs.saw(self._send(job))

    def held(self, node: str) -> frozenset[str | None]:
        """Return the packages that are being brought to a node, or are held there."""
        return frozenset(job.metadata.annotations.get(DIGEST) for job in holds(self.jobs.of(node)))

    def release_hold(self, node: str, digest: Digest) -> None:
        """Let a package go."""
        name = manifests.prepull_job(self.manner, node=node, digest=digest)["metadata"]["name"]
        if self.jobs.get(f"{self.manner.namespace}/{name}") is not None:
            self.api.delete(f"{self._paths['Job']}/{name}")

    def shadow(self, workload: str, told: Mapping[str, str]) -> None:
        """Write shadow orders (JSON by node) beside those of other nodes."""
        try:
            path = f"{self._paths['ConfigMap']}/{shadow_map(workload)}"
            now = msgspec.json.decode(self.api.get(path), type=ConfigMap).data
        except Absent:
            now = {}
        made = manifests.shadow_orders(self.manner, workload, told)
        made["data"] = {**now, **made["data"]}
        self._send(made)

    def _replace(self, change: Change) -> None:
        name = object_name(change.workload, change.node)
        found = self.deployments.get(f"{self.manner.namespace}/{name}")
        now = ordered(found)
        seen = int(found.metadata.annotations.get(EPOCH, "0")) if found else 0
        if change.epoch < seen:
            raise Fenced(f"{name}: epoch {change.epoch}, but {seen} has ordered since")
        if now not in {change.was, change.want}:
            message = f"{name} has {now or 'nothing'}, the order expects {change.was or 'nothing'}"
            raise Conflict("; ".join(filter(None, (message, drifted(found)))))
        if found and change.want and change.swap and swaps(found):
            self._swap(change, change.want, found)
        elif now != change.want:
            self._deploy(change, found)

    def _swap(self, change: Change, want: Digest, found: Deployment) -> None:
        """Put a model into the server that runs; the Deployment says so, its pod stays."""
        name = found.metadata.name
        if ordered(found) != want:
            path = f"{self._paths['Deployment']}/{name}"
            notes = {DIGEST: want, EPOCH: str(change.epoch)}
            version = found.metadata.resource_version
            self.deployments.saw(self.api.annotate(path, notes, version))
        job = manifests.swap_job(
            self.manner,
            workload=change.workload,
            node=change.node,
            want=want,
            epoch=change.epoch,
            base=parse_digest(found.metadata.annotations[BASE]),
            held=want in self.held(change.node),
        )
        # A driver may have died between the two writes: the Job is seen to each time.
        if self.jobs.get(f"{self.manner.namespace}/{job['metadata']['name']}") is None:
            self.jobs.saw(self._send(job))

    def _deploy(self, change: Change, found: Deployment | None) -> None:
        # A Deployment that is stopped shows the package that it had.
        shown = change.want or change.was
        made = manifests.deployment(
            self.manner,
            workload=change.workload,
            node=change.node,
            want=change.want,
            was=change.was,
            epoch=change.epoch,
            needs=needs_of(self.describe(shown).annotations) if shown else needs_of({}),
            swap=change.swap,
        )
        if found is not None:
            made["metadata"]["resourceVersion"] = found.metadata.resource_version
        self.deployments.saw(self._send(made))

    def _read(self, change: Change) -> None:
        name = object_name(change.workload, change.node)
        self.deployments.saw(self.api.get(f"{self._paths['Deployment']}/{name}"))

    def raise_fence(self, workload: str, epoch: int) -> None:
        """Let nobody with a lower epoch order for a workload any more.

        Raises:
            Fenced: a higher epoch is known.
        """
        with self._raising:  # factories that share a cluster share its fences
            self._raise_fence(workload, epoch)

    def _raise_fence(self, workload: str, epoch: int) -> None:
        made = manifests.fence(self.manner, workload, epoch)
        found = self._fences.get(f"{self.manner.namespace}/{made['metadata']['name']}")
        seen = int(found.data["epoch"]) if found else 0
        if epoch < seen:
            raise Fenced(f"{workload} in {self.api.name}: epoch {epoch}, but {seen} is known")
        if epoch > seen:
            if found is not None:
                made["metadata"]["resourceVersion"] = found.metadata.resource_version
            self._fences.saw(self._send(made))

    def _prepare(self, workload: str) -> None:
        """Send, once, what all pods need (no workload), or what all of a workload's do."""
        if workload in self._prepared:
            return
        if workload:
            self._serve(workload)
        else:
            self._send(manifests.trust(self.manner, self._keys))
        self._prepared.add(workload)

    def _serve(self, workload: str) -> None:
        try:
            self._send(manifests.service(self.manner, workload))
        except Refused as refused:
            if _TAKEN not in refused.problem:
                raise
            port = self.manner.node_port_of(workload)
            problem = f"node port {port} is of another workload, or of somebody's Service"
            own = f"pods: {{node_port: {{{workload}: PORT, ...}}}}"
            remedy = (
                f"Give each workload its own in the file of the clusters (docs/clusters.md): {own}"
            )
            raise Refused(f"{workload} in {self.api.name}", problem, remedy) from refused

    def _lacking(self, node: str, digest: Digest) -> int:
        """Return how many bytes of a package are in no image that the node uses or holds."""
        known = {pod.package for pod in self.pods.of(node)} - {None}
        held = {layer.digest for one in known if one for layer in self.describe(one).layers}
        layers = self.describe(digest).layers
        return sum(layer.size for layer in layers if layer.digest not in held)

    def _send(self, made: Manifest) -> bytes:
        path = f"{self._paths[made['kind']]}/{made['metadata']['name']}"
        return self.api.apply(path, made)


def _noted(found: Kept) -> str:
    """Return the node that an object of ours is for."""
    return found.metadata.annotations.get(NODE, "")


def _place(pod: Pod) -> str:
    """Return the node that a pod is on, or is meant for."""
    return pod.spec.node_name or _noted(pod)
