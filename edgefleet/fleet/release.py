"""A release and its phases: the table of what may follow what, and nothing that acts.

`NEXT` is the whole truth about order; `advance` is the only way to move. A phase's comment says
what is already true in it. Ends are final: no signal leaves them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from edgefleet.errors import Conflict


class Phase(StrEnum):
    """Where a release stands; the comment says what is already true."""

    QUALIFYING = "qualifying"  # admitted: quantize, evaluate, package, sign
    PLANNED = "planned"  # the package is signed and pushed: plan, preflight
    AWAITING = "awaiting"  # a plan is stored: a person's yes
    PREPULLING = "prepulling"  # approved: images to the nodes
    CANARY = "canary"  # images are there: change the canary's nodes
    SOAKING = "soaking"  # the canary serves: look
    CONFIRMING = "confirming"  # the verdict passed, and the spec asks a person before the fleet
    ROLLING = "rolling"  # the verdict passed: wave by wave, each judged
    REVERTING = "reverting"  # on the way back, every touched node to what it had
    HELD = "held"  # needs a person; nothing is moving
    RELEASED = "released"
    ROLLED_BACK = "rolled_back"
    REFUSED = "refused"
    REJECTED = "rejected"
    ABORTED = "aborted"


class Signal(StrEnum):
    """What a step found, or somebody asked for."""

    DONE = "done"
    PASSED = "passed"
    ASK = "ask"
    FAILED = "failed"
    UNSURE = "unsure"
    REFUSED = "refused"
    REJECTED = "rejected"
    OUTDATED = "outdated"
    ABORT = "abort"
    REVERT = "revert"
    OVERRIDE = "override"
    EXTEND = "extend"


ENDS: Final = frozenset(
    {Phase.RELEASED, Phase.ROLLED_BACK, Phase.REFUSED, Phase.REJECTED, Phase.ABORTED}
)
LIVE: Final = tuple(phase for phase in Phase if phase not in ENDS)
TO_THE_FLEET: Final = (
    Phase.QUALIFYING,
    Phase.PLANNED,
    Phase.AWAITING,
    Phase.PREPULLING,
    Phase.CANARY,
    Phase.SOAKING,
    Phase.ROLLING,
    Phase.RELEASED,
)
"""The way of a release that goes out and about which nobody is asked after the canary."""
UNTOUCHED: Final = (Phase.QUALIFYING, Phase.PLANNED, Phase.AWAITING, Phase.PREPULLING)
TOUCHED: Final = (
    Phase.CANARY,
    Phase.SOAKING,
    Phase.CONFIRMING,
    Phase.ROLLING,
    Phase.HELD,
)

NEXT: Final[dict[tuple[Phase, Signal], Phase]] = {
    (Phase.QUALIFYING, Signal.DONE): Phase.PLANNED,
    (Phase.PLANNED, Signal.DONE): Phase.AWAITING,
    (Phase.AWAITING, Signal.DONE): Phase.PREPULLING,
    (Phase.AWAITING, Signal.REJECTED): Phase.REJECTED,
    (Phase.AWAITING, Signal.OUTDATED): Phase.PLANNED,
    (Phase.PREPULLING, Signal.DONE): Phase.CANARY,
    (Phase.CANARY, Signal.DONE): Phase.SOAKING,
    (Phase.CANARY, Signal.FAILED): Phase.REVERTING,
    (Phase.SOAKING, Signal.PASSED): Phase.ROLLING,
    (Phase.SOAKING, Signal.ASK): Phase.CONFIRMING,
    (Phase.CONFIRMING, Signal.DONE): Phase.ROLLING,
    (Phase.CONFIRMING, Signal.REJECTED): Phase.REVERTING,
    (Phase.SOAKING, Signal.FAILED): Phase.REVERTING,
    (Phase.SOAKING, Signal.UNSURE): Phase.HELD,
    (Phase.ROLLING, Signal.DONE): Phase.RELEASED,
    (Phase.ROLLING, Signal.FAILED): Phase.REVERTING,
    (Phase.ROLLING, Signal.UNSURE): Phase.HELD,
    (Phase.HELD, Signal.OVERRIDE): Phase.ROLLING,
    (Phase.HELD, Signal.REVERT): Phase.REVERTING,
    (Phase.HELD, Signal.EXTEND): Phase.SOAKING,
    (Phase.REVERTING, Signal.DONE): Phase.ROLLED_BACK,
    (Phase.REVERTING, Signal.ABORT): Phase.REVERTING,
    **{(phase, Signal.REFUSED): Phase.REFUSED for phase in UNTOUCHED},
    **{(phase, Signal.ABORT): Phase.ABORTED for phase in UNTOUCHED},
    **{(phase, Signal.ABORT): Phase.REVERTING for phase in TOUCHED},
}


def advance(phase: Phase, signal: Signal) -> Phase:
    """Return the phase that follows.

    Raises:
        Conflict: `signal` means nothing in `phase`.
    """
    try:
        return NEXT[phase, signal]
    except KeyError:
        known = ", ".join(sorted(s for p, s in NEXT if p is phase)) or "none: it has ended"
        message = f"phase {phase}: signal {signal} means nothing here (known: {known})"
        raise Conflict(message) from None


@dataclass(frozen=True, slots=True)
class Admission:
    """A request for a release, from whichever door it came through."""

    workload: str
    fleet: str
    model: str
    version: str
    asked_by: str
    spec: str
    """The spec's text, frozen from now on."""
    attempt: str = ""
    """Empty for a registration, which is released once; else names a deliberate repetition."""


@dataclass(frozen=True, slots=True)
class Release:
    """One attempt to bring one package to one fleet for one workload, as the ledger holds it."""

    release_id: str
    workload: str
    fleet: str
    generation: int
    """Counts up per workload; part of the salt of the canary draw."""
    model: str
    version: str
    phase: Phase
    admitted_at: datetime
    changed_at: datetime
    """When it entered its phase."""
    asked_by: str
    epoch: int = 0
    """Of the lease under which it was last moved."""
    reason: str = ""
    """Why it is in its phase, in words."""
    abort_asked: str = ""
    """Who asked for an abort and why; empty: nobody did. The driver acts on it at its next step."""
    attempt: str = ""
    """As admitted; names what it carries, if that is no registration (see `attempts`)."""

    @property
    def live(self) -> bool:
        """Whether a driver still has something to do, or a person has."""
        return self.phase not in ENDS

    @property
    def salt(self) -> str:
        """Fixes the canary draw: the same at every re-plan, another at the next release."""
        return f"{self.workload}/{self.generation}"
