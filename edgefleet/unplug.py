"""The port by which a node is taken off its network for a while: a part of every site."""

from __future__ import annotations

from typing import Protocol


class Unplug(Protocol):
    """Cuts a node's link to the outside; what works inside, its cameras among it, goes on."""

    def unplug(self, node: str, seconds: float) -> None:
        """Cut a node off from now on, for so long; asked again, the new time counts. 0: restore.

        The node's side restores it by itself, whatever becomes of whoever asked. Whether it is cut
        off is read from the next snapshot.

        Raises:
            Refused: there is no such node, or it cannot be cut off, or not for so long.
        """
        ...
