"""Nodes that keep the package of an earlier release, whatever the champion is. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Pin:
    """Which release's package a node keeps, who wanted that, when and why."""

    release_id: str
    reason: str
    asked_by: str
    at: datetime

    @property
    def in_words(self) -> str:
        """Return one line for a plan, a table or an answer."""
        by = f"by {self.asked_by} on {self.at:%Y-%m-%d %H:%M} UTC"
        return f"pinned to {self.release_id} {by}: {self.reason}"


def wanted_by(node: str, pins: Mapping[str, Pin], champion: str) -> str:
    """Return the release whose package a node should serve: its pin's, else the champion's."""
    return pins[node].release_id if node in pins else champion
