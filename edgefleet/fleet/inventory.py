"""What is known of the fleet at one moment: nodes as their site showed them, and orders to them.

Plain facts, no decisions. A `NodeView` is for one workload: a node with two jobs has two views.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from edgefleet.edge.contract import Digest, Needs


class PullState(StrEnum):
    """Where an ordered image is on its way to a node."""

    PULLING = "pulling"
    PRESENT = "present"
    FAILED = "failed"


class PullSource(StrEnum):
    """Over which wire the bytes came: the WAN is crossed by a factory's seeder only."""

    WAN = "wan"
    MIRROR = "mirror"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Pull:
    """One image on one node: ordered by `hold`, kept until `release_hold`."""

    digest: Digest
    state: PullState
    reason: str = ""
    """Why it failed, in words; empty while it has not."""
    transferred_bytes: int = 0
    seconds: float = 0.0
    source: PullSource = PullSource.NONE


@dataclass(frozen=True, slots=True)
class Serving:
    """What the node's own server answered; never what somebody ordered."""

    digest: Digest
    ready: bool
    self_check_passed: bool
    boot: str
    url: str
    """Base URL of the inference server, reachable from where the site is."""
    problem: str = ""
    """Why it is not ready or its self-check failed; empty otherwise."""


@dataclass(frozen=True, slots=True)
class NodeView:
    """One node, for one workload, at the time of a snapshot."""

    node: str
    factory: str
    labels: Mapping[str, str]
    online: bool
    serving: Serving | None
    """None: nothing serves, or the node did not answer."""
    ordered: Digest | None
    """What the site was last told to bring about here; None: nothing yet."""
    hold_reason: str | None = None
    """The factory's own veto, in its words; None: there is none."""
    pulls: tuple[Pull, ...] = ()
    free: Needs | None = None
    """What is left for one more server; None: the site does not tell."""
    swaps: bool = False
    """Its server takes the next model in place, and needs no room for another one."""
    disk_free_mb: int | None = 0
    """None: the site does not tell."""
    problem: str = ""
    """Why `ordered` is not serving although the site tried (signature, self-check, no start)."""
    away: str = ""
    """Why it is not online, where more is known than that nothing is heard of it."""

    @property
    def hardware(self) -> str:
        """The hardware class, a stratum of the canary draw; the label `hardware`."""
        return self.labels.get("hardware", "any")

    @property
    def line(self) -> str:
        """The production line, which no canary takes as a whole; the label `line`."""
        return self.labels.get("line", "")

    def pull_of(self, digest: Digest) -> Pull | None:
        """Return the pull of `digest` on this node, None if it was never ordered here."""
        return next((pull for pull in self.pulls if pull.digest == digest), None)

    def serves(self, digest: Digest) -> bool:
        """Say whether the node itself answers with `digest`, ready, its self-check passed."""
        seen = self.serving
        return bool(seen and seen.digest == digest and seen.ready and seen.self_check_passed)


@dataclass(frozen=True, slots=True)
class Change:
    """Bring one node from `was` to `want`; carries its own undo. Applied twice, it acts once."""

    workload: str
    node: str
    factory: str
    want: Digest | None
    """None: stop serving this workload (the undo of a first release)."""
    was: Digest | None
    epoch: int
    """Of the lease under which it was ordered; a site refuses a lower one than it has seen."""
    swap: bool = False
    """The server takes the new model in place: a second one could not start beside it. A site whose
    servers cannot, or need not, starts a second one all the same."""

    def undo(self, epoch: int) -> Change:
        """Return the change back, under the epoch of whoever orders it."""
        return replace(self, want=self.was, was=self.want, epoch=epoch)


@dataclass(frozen=True, slots=True)
class Inventory:
    """All factories' snapshots; a factory that did not answer is named with the reason."""

    nodes: tuple[NodeView, ...]
    silent: Mapping[str, str] = field(default_factory=dict)
    """factory -> why it could not be read: its nodes are deferred, not failed."""
