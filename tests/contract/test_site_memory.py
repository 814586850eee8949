"""The memory site keeps the contract of every site."""

from __future__ import annotations

import pytest

from edgefleet.adapters.memory.clock import MemoryClock
from edgefleet.adapters.memory.faults import Fault, Kind
from edgefleet.adapters.memory.site import MemorySite
from edgefleet.adapters.memory.world import MemoryWorld
from edgefleet.edge.contract import parse_digest
from tests.contract.site_contract import Bench, SiteContract


class TestMemorySite(SiteContract):
    @pytest.fixture
    def bench(self) -> Bench:
        clock = MemoryClock()
        world = MemoryWorld(8, 2, clock=clock)

        def cut(node: str) -> None:
            world.strike(Fault(Kind.OFFLINE, nodes=(node,), at_s=world.now_s))

        return Bench(
            site=MemorySite("factory-01", world),
            workload="defect-detection",
            old=parse_digest("sha256:" + 64 * "1"),
            new=parse_digest("sha256:" + 64 * "2"),
            idle=iter([n.name for n in world.nodes.values() if n.factory == "factory-01"]),
            wait=lambda: clock.sleep(1),
            deadline_s=5,
            cut=cut,
            mend=world.mend,
        )
