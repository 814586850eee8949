"""What the disk knows of one workload on one node: its order, its servers, its port."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edgefleet.adapters.local.disk import read_whole, write_whole
from edgefleet.adapters.local.server import Record
from edgefleet.edge.contract import Digest


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What was last ordered; None: serve nothing, or nothing was ordered yet."""

    want: Digest | None = None


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """What runs, oldest server first, and what is needed to start the next one."""

    port: int = 0
    last_number: int = 0
    stable: Digest | None = None
    """Served last, ready: started again when nothing else can be."""
    previous: Digest | None = None
    """Served before `stable`: the reference of its shadow."""
    servers: tuple[Record, ...] = ()


class Books:
    """The two files; what is read is what was last written."""

    def __init__(self, folder: Path) -> None:
        """Read what a supervisor before this one left."""
        folder.mkdir(parents=True, exist_ok=True)
        self._order_file = folder / "order.json"
        self._running_file = folder / "running.json"
        self.order = read_whole(self._order_file, Order, Order())
        self.running = read_whole(self._running_file, Running, Running())

    def write_order(self, order: Order) -> None:
        """Replace the order."""
        write_whole(self._order_file, order)
        self.order = order

    def write_running(self, running: Running) -> None:
        """Replace what runs."""
        write_whole(self._running_file, running)
        self.running = running
