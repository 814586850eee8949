"""A server with a store, and orders to it, for every test that swaps a model."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from edgefleet.edge.contract import DIGEST_HEADER, Digest, Summary, SwapState, Windows
from edgefleet.edge.store import Order, State, Store
from tests.edge.conftest import Shelf
from tests.edge.tiny import DARK, Running, server, tiny_package, wait_for

Starting: TypeAlias = AbstractContextManager[Running]


@dataclass
class Bench:
    """One node's folders, and the packages that may go into its store."""

    shelf: Shelf
    root: Path
    store: Store = field(init=False)
    packages: dict[Digest, Path] = field(init=False)

    def __post_init__(self) -> None:
        self.store = Store(self.root / "store")
        self.packages = {
            self.shelf.old: self.shelf.root / "old",
            self.shelf.new: self.shelf.root / "new",
        }

    @property
    def trust(self) -> Path:
        return self.shelf.root / "keys/trust"

    def server(self, package: Path | None = None, **changes: Any) -> Starting:
        """Start a server whose own package is the old one, or in a folder of the same digest."""
        settings = {"trust_dir": str(self.trust), "store_dir": str(self.store.root), **changes}
        settings = {"drain_s": 1.0, "label_rate": 0.5, **settings}
        return server(
            self.root / "state", package or self.shelf.root / "old", self.shelf.old, **settings
        )

    def package(self, version: str) -> Digest:
        """Make one more package of the shelf's key."""
        folder = self.root / f"package-{version}"
        bias = 4 + int(version) / 100
        digest = tiny_package(folder, self.shelf.root / "keys", bias=bias, version=version)
        self.packages[digest] = folder
        return digest

    def order(self, digest: Digest, epoch: int = 1) -> Order:
        """Put a package and order it, as the errand does."""
        with self.store.locked():
            self.store.put(self.packages[digest], self.trust, digest)
            return self.store.give(digest, epoch)

    def settled(self, order: Order) -> State:
        """Wait until the server has said what became of an order."""
        wait_for(lambda: self.store.state().settles(order), f"{order} is settled")
        return self.store.state()

    def swap(self, digest: Digest, epoch: int = 1) -> None:
        """Swap, and wait until it serves."""
        assert self.settled(self.order(digest, epoch)).reason == ""


def summary(running: Running) -> Summary:
    body = running.private("GET", "/metrics/summary").body
    return msgspec.json.decode(body, type=Summary)


def told(running: Running) -> SwapState:
    """What the summary says of the last order."""
    swap = summary(running).swap
    assert swap is not None
    return swap


def windows(running: Running) -> Windows:
    reply = running.public("GET", "/metrics/windows?after=-1")
    return msgspec.json.decode(reply.body, type=Windows)


def answers(running: Running, image: bytes = DARK, request_id: str = "") -> tuple[Digest, str]:
    """Return which digest answered, and what."""
    reply = running.raw(image, request_id)
    assert reply.status == 200
    return Digest(reply.headers[DIGEST_HEADER]), reply.json["label"]


def threads(running: Running) -> int:
    """Return how many threads the process has; each session has its own."""
    return len(list(Path(f"/proc/{running.process.pid}/task").iterdir()))
