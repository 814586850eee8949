"""What happened to the servers: one JSON line each in `events.jsonl`, where cut-overs are read."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from edgefleet.edge.contract import Digest

Kind = Literal["cutover", "started", "failed", "died", "stopped"]


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that happened to a node's server; times are unix seconds."""

    time: float
    """Of a cut-over: when the new server was ready."""
    kind: Kind
    factory: str
    node: str
    workload: str
    old: Digest | None = None
    new: Digest | None = None
    ready: float | None = None
    """When the new server accepted."""
    drained: float | None = None
    """When the old one had answered its last request and ended."""
    reason: str = ""


class Journal:
    """Appends events; each line is written in one piece."""

    def __init__(self, path: Path) -> None:
        """Append to `path`."""
        self._path = path

    def note(self, event: Event) -> None:
        """Add a line."""
        with self._path.open("ab") as stream:
            stream.write(msgspec.json.encode(event) + b"\n")
