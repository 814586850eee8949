"""The local site keeps the contract of every site: a real supervisor, and real edge servers."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from tests.adapters.local_fleet import WORKLOAD, fleet, make_shelf
from tests.contract.site_contract import Bench, SiteContract

NODES = 2 * sum(name.startswith("test_") for name in dir(SiteContract))
"""More than all tests take."""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    shelf = make_shelf(tmp_path_factory.mktemp("shelf"))
    with fleet(tmp_path_factory.mktemp("fleet"), shelf, NODES) as local:
        yield Bench(
            site=local.site(),
            workload=WORKLOAD,
            old=shelf.old,
            new=shelf.new,
            deadline_s=120,
            idle=(f"n{number}" for number in count(1)),
            cut=lambda node: (local.folder(node) / "OFFLINE").touch(),
            mend=lambda node: (local.folder(node) / "OFFLINE").unlink(),
        )


@pytest.mark.servers
class TestLocalSite(SiteContract):
    @pytest.fixture
    def node(self, bench: Bench) -> Iterator[str]:
        """Give a node of its own; its server ends with the test, not with the last one."""
        taken = next(bench.idle)
        yield taken
        bench.site.apply(bench.change(taken, None, bench.view(taken).ordered))
