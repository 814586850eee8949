"""The images of one local node."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from edgefleet.adapters.local.links import Link
from edgefleet.adapters.local.pulls import Pulls, Wires
from edgefleet.adapters.local.store import Store
from edgefleet.edge.contract import Digest
from edgefleet.fleet.inventory import Pull, PullState

HELD, GONE = Digest("sha256:" + "a" * 64), Digest("sha256:" + "b" * 64)


@dataclass
class Node:
    name: str = "n1"
    offline: bool = False

    def seeder_failed(self, seed: str, digest: Digest) -> str:
        del seed, digest
        return ""


def test_what_is_just_being_unpacked_is_left_alone_and_what_nobody_holds_goes(
    tmp_path: Path,
) -> None:
    # A server that ends has its package collected while the next one may arrive.
    ordered = [{"pull": Pull(HELD, PullState.PULLING), "seed": None}]
    (tmp_path / "pulls.json").write_bytes(msgspec.json.encode(ordered))
    store = Store(tmp_path / "store")
    wires = Wires(store, store, Link(1), Link(1), tmp_path, 0)
    pulls = Pulls(tmp_path, 10, wires, Node(), lambda: None)
    images = tmp_path / "images"
    for digest in (HELD, GONE):
        (images / f".arriving-{digest.removeprefix('sha256:')}").mkdir()
    (images / GONE.removeprefix("sha256:")).mkdir()
    pulls.collect(frozenset())
    assert [path.name for path in images.iterdir()] == [f".arriving-{'a' * 64}"]
