"""Nodes of KubeEdge: when the control plane's word about them may be believed.

A node that was cut off is Ready again before its EdgeCore has told what its pods are: till then
they are shown as they were when the link broke. So a node that came back stays away for a while,
and nobody judges it by the past. All edges silent at once say nothing of edges: CloudCore is away.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from edgefleet.adapters.kubernetes.objects import Node, Pod

ROLE: Final = "node-role.kubernetes.io/edge"
HELD: Final = "HeldUpgrade"
_VERSION: Final = "-kubeedge-"
_FEWEST: Final = 2
"""Edges whose common silence says something of what they have in common."""


def is_edge(node: Node) -> bool:
    """Say whether EdgeCore runs a node, by its own word or its role."""
    return _VERSION in node.status.node_info.kubelet_version or ROLE in node.metadata.labels


def online(node: Node) -> bool:
    """Say whether the control plane hears from a node."""
    return any(c.type == "Ready" and c.status == "True" for c in node.status.conditions)


@dataclass(frozen=True, slots=True)
class _Ready:
    node: Node
    changed: str
    """When it became ready, by whichever clock: compared only for being another time. Empty: it is
    not."""
    until: float
    """From then on, by our clock, it is believed."""


class Patience:
    """Remembers which edges came back, and when. Threads may share it."""

    def __init__(self, settle_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Believe an edge once it has been ready for `settle_s` seconds of `clock`."""
        self._settle_s = settle_s
        self._clock = clock
        self._ready: dict[str, _Ready] = {}
        self._lock = threading.Lock()

    def away(self, nodes: Iterable[Node]) -> Mapping[str, str]:
        """Return, of the edges among `nodes`, those not to be judged now: name -> why, in words.

        Other nodes are left to their conditions: a kubelet tells of its pods without delay.
        """
        with self._lock:
            found = {node.metadata.name: self._why(node) for node in nodes if is_edge(node)}
        return {name: why for name, why in found.items() if why}

    def _why(self, node: Node) -> str:
        name = node.metadata.name
        if not online(node):
            self._ready[name] = _Ready(node, "", math.inf)
            return "its EdgeCore is not heard"
        known = self._ready.get(name)
        if known is None or known.node is not node:
            known = self._ready[name] = self._noted(node, known)
        if self._clock() >= known.until:
            return ""
        return f"back for less than {self._settle_s:g} s: what its pods are is not known yet"

    def _noted(self, node: Node, before: _Ready | None) -> _Ready:
        changed, settled = _times(node, self._settle_s)
        if before is not None and before.changed == changed:
            return _Ready(node, changed, before.until)
        # Met by this process for the first time: the node's own times say how long it has been
        # ready. Else it was away, if only between two looks.
        settled = settled and before is None
        now = self._clock()
        return _Ready(node, changed, now if settled else now + self._settle_s)


def common_silence(nodes: Iterable[Node], away: Mapping[str, str]) -> str:
    """Return in words that all edges of a control plane are away at once; empty: they are not."""
    edges = sum(map(is_edge, nodes))
    if edges < _FEWEST or len(away) < edges:
        return ""
    return f"all of its {edges} edges are silent or only just back, as when its CloudCore is away"


def held_back(pods: Iterable[Pod]) -> str:
    """Return why an edge does not start a new pod although it has it; empty: it does.

    The condition stays when the pod was let go: the phase says whether it still waits.
    """
    for pod in pods:
        waits = pod.status.phase == "Pending" and not pod.metadata.deletion_timestamp
        if waits and any(c.type == HELD and c.status == "True" for c in pod.status.conditions):
            return f"{pod.metadata.name} waits until the node's operator lets it go (HeldUpgrade)"
    return ""


def _times(node: Node, settle_s: float) -> tuple[str, bool]:
    """Return when a node became ready, and whether that is long ago: both times are of one clock.

    A node that states no times is taken as it is.
    """
    [ready] = [c for c in node.status.conditions if c.type == "Ready"]
    begun, heard = ready.last_transition_time, ready.last_heartbeat_time
    if not (begun and heard):
        return begun or "", True
    ready_s = (datetime.fromisoformat(heard) - datetime.fromisoformat(begun)).total_seconds()
    return begun, ready_s >= settle_s
