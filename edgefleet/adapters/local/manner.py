"""How servers are started and replaced: the same for the whole fleet, and what differs by job."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from edgefleet.adapters.local.journal import Journal
from edgefleet.edge.contract import Digest, ServerSettings


@dataclass(frozen=True, slots=True)
class Manner:
    """The fleet's."""

    trust_dir: str
    sockets: Path
    """Folder of the private sockets."""
    gate: asyncio.Semaphore
    """Lets so many servers start at once."""
    journal: Journal
    window_s: float
    warmup_windows: int
    threads: int
    lead_s: float
    """How long a node is shown as changing before its new server is started."""
    ready_timeout_s: float
    drain_s: float


@dataclass(frozen=True, slots=True)
class Place:
    """Whose job it is."""

    factory: str
    node: str
    workload: str
    label_rate: float
    folder: Path

    @property
    def shadow_file(self) -> Path:
        """Where the servers look whom to answer a second time with."""
        return self.folder / "shadow.json"


def server_settings(
    place: Place,
    manner: Manner,
    *,
    digest: Digest,
    package: Path,
    reference: tuple[Digest, Path] | None,
    listen_fd: int,
    private_socket: str,
) -> ServerSettings:
    """Return what a server is started with; `reference` is what served before, for its shadow."""
    return ServerSettings(
        workload=place.workload,
        node=place.node,
        digest=digest,
        package_dir=str(package),
        trust_dir=manner.trust_dir,
        state_dir=str(place.folder / "state"),
        private_socket=private_socket,
        listen_fd=listen_fd,
        shadow_digest=reference[0] if reference else None,
        shadow_dir=str(reference[1]) if reference else None,
        shadow_order_file=str(place.shadow_file),
        window_s=manner.window_s,
        warmup_windows=manner.warmup_windows,
        label_rate=place.label_rate,
        threads=manner.threads,
        drain_s=manner.drain_s,
    )
