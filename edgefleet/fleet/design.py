"""Who is compared with whom over which windows: fixed before the first look, never after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from edgefleet.edge.contract import Digest
from edgefleet.fleet.cohorts import Member
from edgefleet.fleet.inventory import Inventory
from edgefleet.fleet.plan import Plan

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


def design_of(
    made: Plan,
    inventory: Inventory,
    was: Digest | None,
    first_window: int,
    pre: tuple[int, int] | None,
) -> Design:
    """Return the design of a plan's canary: its controls are all that was eligible with it."""
    changes = {change.node: change for wave in made.waves for change in wave.changes}
    seen = {view.node: view for view in inventory.nodes}
    members = tuple(
        # A factory may be silent just now; the draw is over all nodes that were eligible.
        Member(node, changes[node].factory, seen[node].hardware, seen[node].line)
        if node in seen
        else Member(node, changes[node].factory)
        for node in made.eligible
    )
    return Design(
        nodes=members,
        canary=tuple(change.node for change in made.waves[0].changes),
        want=made.want,
        was=was,
        salt=made.salt,
        first_window=first_window,
        pre=pre,
        hand_picked=made.hand_picked,
    )
