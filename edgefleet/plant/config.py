"""What a plant is told at its start: one JSON file, whose path is the only argument."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edgefleet.errors import Refused


class PlantConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One workload's cameras and QA stations. Paths are absolute."""

    root: str
    """The supervisor's root: its address and events are there, `plant/` is written there."""
    workload: str
    """The job that its cameras send images to."""
    model: str
    """The name in the raw route."""
    nodes: tuple[str, ...] = ()
    """`factory/node`, each; none: every node that serves the workload."""
    rate_hz: float = 4.0
    """Images a second and node, while nothing happens."""
    busy_hz: float = 60.0
    """... while the node is being changed, and for `busy_after_s` more: a gap would show."""
    busy_lines: int = 3
    """Connections that share `busy_hz`."""
    busy_after_s: float = 2.0
    """How long `busy_hz` goes on after a change."""
    timeout_s: float = 5.0
    """How long a camera waits for an answer."""
    label_delay_s: float = 1.0
    """How long the QA station takes to look at a part."""
    wanted_every_s: float = 5.0
    """How often it asks which disagreements should be looked at; 0: never."""
    pool: int = 300
    """Different images per factory."""
    seed: int = 0
    """Fixes the images."""


def load_config(path: Path) -> PlantConfig:
    """Return the configuration in a file.

    Raises:
        Refused: it cannot be read, or a field is wrong.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=PlantConfig)
    except (OSError, msgspec.MsgspecError) as error:
        raise Refused(str(path), str(error), "Correct the plant's configuration") from error
