"""Who is compared with whom over which windows: fixed before the first look, never after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from edgefleet.edge.contract import Digest
from edgefleet.fleet.cohorts import Member

DRAWS: Final = 2000


@dataclass(frozen=True, slots=True)
class Design:
    """One canary and its controls."""

    nodes: tuple[Member, ...]
    """All nodes that were eligible when the canary was drawn, the canary among them."""
    canary: tuple[str, ...]
    want: Digest
    was: Digest | None
    """The champion, on the controls; None: a first release has none."""
    salt: str
    first_window: int
    """The first window of the soak; look 1 is taken after it."""
    pre: tuple[int, int] | None = None
    """First and last window before any node was changed; None: nothing is known of before."""
    since: Mapping[str, int] = field(default_factory=dict)
    """First window that counts, of canary nodes that came later than `first_window`."""
    draws: int = DRAWS
    hand_picked: bool = False
    """The canary was not drawn: the error rates are not guaranteed, and the verdict says so."""

    def look_at(self, window: int) -> int:
        """Return the number of the look after `window`, from 1."""
        return window - self.first_window + 1
