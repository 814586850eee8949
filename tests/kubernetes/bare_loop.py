"""The least that a release can cost: its writes to the API servers, and the wait for what they do.

The same nodes in the same steps as a plan has them, each step begun when the one before has ended
everywhere. No ledger, no Prefect, no evidence and no verdict; nobody asks a server what it serves:
a pod that Kubernetes calls Ready is believed.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from edgefleet.adapters.kubernetes.api import Api
from edgefleet.adapters.kubernetes.informer import Informer
from edgefleet.adapters.kubernetes.objects import Pod
from edgefleet.edge.contract import Digest
from edgefleet.fleet import manifests
from edgefleet.fleet.manifest_names import HELD, MANAGER, WORKLOAD, Manifest, Manner
from edgefleet.fleet.needs import needs_of
from edgefleet.fleet.plan import Plan

_PATIENCE_S = 300.0
_TICK_S = 0.05
"""Between two looks at what was ordered; a look costs no call."""


@dataclass(frozen=True)
class Took:
    """What a loop took."""

    pull_s: float
    change_s: float
    let_go_s: float
    cpu_s: float
    calls: Counter[str]


class BareLoop:
    """Brings `want` to the nodes of a plan, where what the plan brought is served."""

    def __init__(
        self, kubeconfigs: Mapping[str, Path], manner: Manner, plan: Plan, epoch: int
    ) -> None:
        """Write to each factory by its kubeconfig, under the epoch of the release before."""
        self._apis = {name: Api.of_context(name, file, None) for name, file in kubeconfigs.items()}
        ours = f"app.kubernetes.io/managed-by={MANAGER}"
        pods = f"/api/v1/namespaces/{manner.namespace}/pods"
        self._pods = {
            name: Informer(api, pods, Pod, ours, group=_node) for name, api in self._apis.items()
        }
        self._manner, self._epoch = manner, epoch
        self._workload, self._was = plan.workload, plan.want
        self._waves = [
            {
                factory: [change.node for change in wave.changes if change.factory == factory]
                for factory in self._apis
            }
            for wave in plan.waves
        ]

    def run(self, want: Digest) -> Took:
        """Do all of it once."""
        for informer in self._pods.values():
            informer.all()
        calls, cpu_s, began = self._calls(), time.process_time(), time.monotonic()
        all_nodes = {
            factory: [node for wave in self._waves for node in wave[factory]]
            for factory in self._apis
        }
        with ThreadPoolExecutor(len(self._apis)) as threads:

            def step(do: Callable[[str, Sequence[str]], None], of: Mapping[str, list[str]]) -> None:
                list(threads.map(do, of, of.values()))

            step(lambda factory, nodes: self._pull(factory, nodes, want), all_nodes)
            pulled = time.monotonic()
            for wave in self._waves:
                step(lambda factory, nodes: self._change(factory, nodes, want), wave)
            changed = time.monotonic()
            step(lambda factory, nodes: self._let_go(factory, nodes, want), all_nodes)
            ended = time.monotonic()
        took = (pulled - began, changed - pulled, ended - changed)
        return Took(*took, time.process_time() - cpu_s, self._calls() - calls)

    def close(self) -> None:
        """Stop watching."""
        for informer in self._pods.values():
            informer.close()

    def _pull(self, factory: str, nodes: Sequence[str], want: Digest) -> None:
        """Hold a package on nodes; the first one goes alone, as the seeder of the others does."""

        def hold(node: str, source: str) -> None:
            made = manifests.prepull_job(self._manner, node=node, digest=want, source=source)
            self._apply(factory, "batch", "jobs", made)

        def held(pod: Pod) -> bool:
            return HELD in pod.metadata.labels and pod.status.phase == "Running"

        for node in nodes[:1]:
            hold(node, "wan")
        self._await(factory, nodes[:1], want, held)
        for node in nodes[1:]:
            hold(node, "mirror")
        self._await(factory, nodes, want, held)

    def _change(self, factory: str, nodes: Sequence[str], want: Digest) -> None:
        for node in nodes:
            made = manifests.deployment(
                self._manner,
                workload=self._workload,
                node=node,
                want=want,
                was=self._was,
                epoch=self._epoch,
                needs=needs_of({}),
            )
            self._apply(factory, "apps", "deployments", made)
        self._await(factory, nodes, want, _serves)

    def _let_go(self, factory: str, nodes: Sequence[str], want: Digest) -> None:
        for node in nodes:
            job = manifests.prepull_job(self._manner, node=node, digest=want)
            self._apis[factory].delete(f"{self._path('batch', 'jobs')}/{job['metadata']['name']}")

    def _await(
        self, factory: str, nodes: Sequence[str], want: Digest, there: Callable[[Pod], bool]
    ) -> None:
        waiting, until = set(nodes), time.monotonic() + _PATIENCE_S
        while waiting:
            pods = {node: self._pods[factory].of(node) for node in waiting}
            waiting = {
                node
                for node, of in pods.items()
                if not any(pod.package == want and there(pod) for pod in of)
            }
            if time.monotonic() > until:
                raise TimeoutError(f"{factory}: {len(waiting)} nodes not within {_PATIENCE_S:g} s")
            if waiting:
                time.sleep(_TICK_S)

    def _apply(self, factory: str, group: str, kind: str, made: Manifest) -> None:
        self._apis[factory].apply(f"{self._path(group, kind)}/{made['metadata']['name']}", made)

    def _path(self, group: str, kind: str) -> str:
        return f"/apis/{group}/v1/namespaces/{self._manner.namespace}/{kind}"

    def _calls(self) -> Counter[str]:
        return sum((api.calls for api in self._apis.values()), Counter[str]())


def _node(pod: Pod) -> str:
    return pod.spec.node_name


def _serves(pod: Pod) -> bool:
    ready = any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions)
    return WORKLOAD in pod.metadata.labels and ready and not pod.metadata.deletion_timestamp
