"""What the supervisor is told at its start: one JSON file, whose path is its only argument."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edgefleet.errors import Refused


class NodeConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One node."""

    name: str
    """Unique in its factory."""
    labels: dict[str, str] = {}
    """What a spec's selector looks for; `hardware` is a node's class in the draw of canaries."""
    label_rate: float | None = None
    """Share of the requests whose true label is wanted; none: as the fleet."""
    disk_mb: int = 4096
    """Room for images; the real disk's free space is respected too."""


class FactoryConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One factory: its nodes and the rates of its two networks."""

    name: str
    """Unique in the fleet."""
    nodes: tuple[NodeConfig, ...]
    wan_mbit: float = 50.0
    """To the central registry; shared by all pulls of the factory."""
    lan_mbit: float = 1000.0
    """From the mirror to the nodes; shared too."""


class SupervisorConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole local fleet. Paths are absolute."""

    root: str
    """Folder of everything that the supervisor writes."""
    images_dir: str
    """The central OCI layout."""
    trust_dir: str
    """Public keys, handed to every server and used on arrival of a package."""
    factories: tuple[FactoryConfig, ...]
    window_s: float = 60.0
    """Length of a window of evidence; must be the specs' `gates.window_s`."""
    warmup_windows: int = 1
    """Windows after a server's start that are marked as not warm."""
    label_rate: float = 0.1
    """Share of the requests whose true label is wanted."""
    threads: int = 1
    """Inference threads per server."""
    start_at_once: int = 2
    """Servers that may be starting at one time, in the whole fleet."""
    cutover_lead_s: float = 0.0
    """How long a node is shown as changing before its new server is started."""
    ready_timeout_s: float = 60.0
    """How long a new server may take to become ready."""
    drain_s: float = 10.0
    """How long a replaced server may go on answering what it has accepted."""
    disk_margin_mb: int = 64
    """Free space that must be left beside a new image."""


def load_config(path: Path) -> SupervisorConfig:
    """Return the configuration in a file.

    Raises:
        Refused: it cannot be read, a field is wrong, or a name occurs twice.
    """
    try:
        config = msgspec.json.decode(path.read_bytes(), type=SupervisorConfig)
    except (OSError, msgspec.MsgspecError) as error:
        raise Refused(str(path), str(error), "Correct the supervisor's configuration") from error
    factories = [factory.name for factory in config.factories]
    for kind, names in (
        ("factory", factories),
        *((f"node of {f.name}", [node.name for node in f.nodes]) for f in config.factories),
    ):
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise Refused(str(path), f"{kind} named twice: {', '.join(twice)}", "Rename one")
    return config
