"""The state of one server process, and what it says of itself: health and summary."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec.structs import replace

from edgefleet.edge.bookkeeping import Bookkeeper
from edgefleet.edge.connections import Gate
from edgefleet.edge.contract import (
    LOADING,
    Digest,
    SelfCheck,
    ServerSettings,
    Summary,
    SwapState,
)
from edgefleet.edge.tally import Term, quantile

if TYPE_CHECKING:
    from edgefleet.edge.shadow import Shadow
    from edgefleet.edge.slots import Slot

SUMMARY_BYTES: Final = 4096
_REASON_CHARACTERS: Final = 600
_SWAP_CHARACTERS: Final = 300
"""More would not fit: a summary has at most 4 kB."""
_NOT_YET: Final = SelfCheck(passed=False, agreed=0, total=0, reason=LOADING)


@dataclass(slots=True)
class Serving:
    """All that depends on which digest serves; at a swap it is replaced as a whole.

    A request keeps the one that it began with until it is answered.
    """

    slot: Slot
    previous: Slot | None
    """What served before it, still loaded: the way back, and a reference for shadow."""
    shadow: Shadow
    quick: bool
    """Whether inferences run on the event loop; see edgefleet.edge.loading."""
    self_check: SelfCheck
    term: Term
    in_flight: int = 0
    """Requests that it has begun to answer."""


@dataclass(slots=True)
class Node:
    """One process; all of it belongs to the event loop's thread."""

    settings: ServerSettings
    boot: str
    books: Bookkeeper
    gate: Gate = field(default_factory=Gate)
    """Of the public door."""
    serving: Serving | None = None
    """None: nothing is loaded that may serve."""
    refused: SelfCheck = _NOT_YET
    """Why nothing serves, as long as nothing does."""
    address: str = ""
    """Of the public door, once it is open."""
    swap: SwapState | None = None
    """None: there is no store, and no order to swap."""
    drain_asked: asyncio.Event = field(default_factory=asyncio.Event)
    started: float = field(default_factory=time.monotonic)

    @classmethod
    def start(cls, settings: ServerSettings) -> Node:
        """Return the node's state with a new boot id."""
        boot = os.urandom(6).hex()
        return cls(settings, boot, Bookkeeper(settings, boot))

    @property
    def current(self) -> Serving:
        """What serves.

        Raises:
            RuntimeError: nothing does yet, and the public door is not open.
        """
        if self.serving is None:
            raise RuntimeError("nothing serves yet")
        return self.serving

    @property
    def digest(self) -> Digest:
        """What really serves; as long as nothing does: what is to be brought up."""
        return self.books.book.term.digest

    @property
    def self_check(self) -> SelfCheck:
        """Of what serves, else of what must not."""
        return self.refused if self.serving is None else self.serving.self_check

    @property
    def problem(self) -> str:
        """Why it is not ready, in words; empty: it is."""
        if self.drain_asked.is_set():
            return "it drains: its last requests are being answered"
        if self.serving is None:
            return self.self_check.reason
        return "" if self.address else "its socket is not open yet"

    def health(self) -> tuple[int, dict[str, object]]:
        """Return the status and the body of /health."""
        said: dict[str, object] = {
            "ready": not self.problem,
            "digest": self.digest,
            "boot": self.boot,
            "address": self.address,
        }
        if self.problem:
            return 503, {**said, "reason": self.problem}
        return 200, said

    def summary(self) -> bytes:
        """Return the Summary as JSON, at most 4 kB."""
        settings = self.settings
        now = time.time()
        total = self.books.book.total(now)
        p50, p95, p99 = (
            None if value is None else round(value * 1000, 4)
            for value in (quantile(total.latency, share) for share in (0.5, 0.95, 0.99))
        )
        check = self.self_check
        summary = Summary(
            workload=settings.workload,
            digest=self.digest,
            boot=self.boot,
            ready=not self.problem,
            self_check=replace(check, reason=check.reason[:_REASON_CHARACTERS]),
            warm=total.warm,
            window_s=settings.window_s,
            uptime_s=round(time.monotonic() - self.started, 3),
            p50_ms=p50,
            p95_ms=p95,
            p99_ms=p99,
            queue_depth=self.gate.depth,
            total=total,
            shadow=self.serving.shadow.digest if self.serving else None,
            disk_free_mb=_free_mb(settings.state_dir),
            swap=self.swap and replace(self.swap, reason=self.swap.reason[:_SWAP_CHARACTERS]),
        )
        return msgspec.json.encode(summary)


def _free_mb(folder: str) -> int | None:
    try:
        found = os.statvfs(folder)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize // 10**6
