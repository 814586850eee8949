"""What a node has left: what it can give, without what its pods have reserved. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Final

from kubernetes.utils.quantity import parse_quantity

from edgefleet.adapters.kubernetes.objects import Node, Pod, PodSpec
from edgefleet.edge.contract import Needs
from edgefleet.fleet.pods import ERRAND

_ENDED: Final = frozenset({"Succeeded", "Failed"})


def free_on(node: Node, pods: Iterable[Pod]) -> Needs:
    """Return what is left for one more server, beside the pre-pull that comes before it."""
    taken = [
        _reserved(pod.spec) for pod in pods if pod.spec.node_name and pod.status.phase not in _ENDED
    ]
    left = {
        name: _amount(text) - sum(one.get(name, 0) for one in (*taken, _amounts(ERRAND)))
        for name, text in node.status.allocatable.items()
    }
    return Needs(
        memory_mb=int(left.get("memory", 0) / 10**6),
        cpu_millis=int(left.get("cpu", 0) * 1000),
        # Devices have a vendor's domain in their name, what every node has does not.
        devices={name: int(count) for name, count in left.items() if "/" in name},
    )


def _reserved(spec: PodSpec) -> dict[str, Decimal]:
    """Return what a pod reserves: its containers together, or its hungriest init container."""
    together: dict[str, Decimal] = {}
    for container in spec.containers:
        for name, amount in _amounts(container.resources.requests).items():
            together[name] = together.get(name, Decimal()) + amount
    for container in spec.init_containers:
        for name, amount in _amounts(container.resources.requests).items():
            together[name] = max(together.get(name, Decimal()), amount)
    return together


def _amounts(stated: Mapping[str, str]) -> dict[str, Decimal]:
    return {name: _amount(text) for name, text in stated.items()}


@lru_cache(1000)
def _amount(text: str) -> Decimal:
    return Decimal(parse_quantity(text))
