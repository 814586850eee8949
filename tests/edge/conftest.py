"""One signed package and one server, shared by the tests that only ask."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from edgefleet.edge.contract import Digest
from tests.edge.tiny import Running, server, tiny_package


@dataclass(frozen=True)
class Shelf:
    """Packages that one key signed: `old` finds dark images ok, `new` calls them scratched."""

    root: Path
    old: Digest
    new: Digest

    def server(
        self, state: Path, version: Literal["old", "new"] = "old", **changes: Any
    ) -> AbstractContextManager[Running]:
        """Start a server on one of them, as `tiny.server` does, its state in a folder."""
        digest = self.old if version == "old" else self.new
        trust = {"trust_dir": str(self.root / "keys/trust")}
        return server(state, self.root / version, digest, **trust, **changes)


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    root = tmp_path_factory.mktemp("shelf")
    old = tiny_package(root / "old", root / "keys")
    new = tiny_package(root / "new", root / "keys", bias=4.0, version="2")
    return Shelf(root, old, new)


@pytest.fixture(scope="module")
def running(shelf: Shelf, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    state = tmp_path_factory.mktemp("node") / "state"
    limits = {"max_body_bytes": 20_000, "max_batch": 4, "max_in_flight": 3}
    with shelf.server(state, label_rate=0.5, drain_s=1.0, **limits) as started:
        started.wait_ready()
        yield started
