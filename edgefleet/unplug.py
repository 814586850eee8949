"""The port by which a node is taken off its network for a while: a part of every site."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

BACK_S: Final = 60.0
"""So long after its time a node may be away before it counts as not back."""


@dataclass(frozen=True, slots=True)
class Delays:
    """How long a site may take to show what became of a link."""

    away_s: float = 5.0
    """Until a node that is cut off is shown offline: a shorter cut may not be seen at all."""
    back_s: float = BACK_S
    """Until a node whose link was to be restored is shown online; after that it is not back."""


class Unplug(Protocol):
    """Cuts a node's link to the outside; what works inside, its cameras among it, goes on."""

    @property
    def delays(self) -> Delays:
        """How long it takes until a snapshot shows a cut, and its end."""
        ...

    def unplug(self, node: str, seconds: float) -> None:
        """Cut a node off from now on, for so long; asked again, the new time counts. 0: restore.

        The other side restores it by itself, whatever becomes of whoever asked. Whether it is cut
        off is read from the next snapshot.

        Raises:
            Refused: there is no such node, or it cannot be cut off, or not for so long.
        """
        ...
