"""Inventories, specs and releases for the tests of plans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType

from edgefleet.edge.contract import Digest, Needs
from edgefleet.fleet.inventory import Inventory, NodeView, Serving
from edgefleet.fleet.needs import Package
from edgefleet.fleet.pins import Pin
from edgefleet.fleet.plan import Plan, make_plan
from edgefleet.fleet.release import Phase, Release
from edgefleet.spec import Spec

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
WAS = Digest("sha256:" + "a" * 64)
WANT = Digest("sha256:" + "b" * 64)


def view(name: str, factory: str, digest: Digest | None = WAS) -> NodeView:
    """Return a healthy camera node."""
    serving = digest and Serving(
        digest=digest, ready=True, self_check_passed=True, boot="1", url="http://n"
    )
    return NodeView(
        node=name,
        factory=factory,
        labels={"line": "camera", "hardware": "cpu"},
        online=True,
        serving=serving or None,
        ordered=digest,
        free=Needs(memory_mb=2000, cpu_millis=4000),
        disk_free_mb=8000,
    )


def fleet(
    count: int = 40, changed: dict[str, NodeView] | None = None, digest: Digest | None = WAS
) -> Inventory:
    """Return nodes n00.. in four factories; `changed` replaces some of them."""
    nodes = (view(f"n{i:02d}", f"f{i % 4}", digest) for i in range(count))
    return Inventory(tuple((changed or {}).get(node.node, node) for node in nodes))


def spec(**changes: object) -> Spec:
    """Return a spec of camera nodes."""
    usual = {"workload": "inspect", "model": "surface", "selector": {"line": "camera"}}
    return Spec.model_validate(usual | changes)


def release(generation: int = 2) -> Release:
    """Return a release about to be planned."""
    return Release(
        f"inspect-{generation}",
        "inspect",
        "local",
        generation,
        "surface",
        "7",
        Phase.PLANNED,
        NOW,
        NOW,
        "test",
    )


def plan(
    inventory: Inventory,
    *,
    champion: Digest | None = WAS,
    pins: Mapping[str, Pin] = MappingProxyType({}),
    **changes: object,
) -> Plan:
    """Return the plan of a three-megabyte model."""
    package = Package(WANT, 3_000_000, Needs())
    return make_plan(spec(**changes), release(), inventory, package, champion, NOW, pins)


def pin(release_id: str = "inspect-1") -> Pin:
    """Return a pin to a release's package."""
    return Pin(release_id, "the old camera", "Ada", NOW)


def offline(node: NodeView) -> NodeView:
    """Return the node cut off."""
    return replace(node, online=False, serving=None)
