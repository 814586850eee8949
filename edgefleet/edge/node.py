"""The state of one server process, and what it says of itself: health and summary."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec

from edgefleet.edge.bookkeeping import Bookkeeper
from edgefleet.edge.connections import Gate
from edgefleet.edge.contract import SelfCheck, ServerSettings, Summary
from edgefleet.edge.tally import quantile

if TYPE_CHECKING:
    from edgefleet.edge.shadow import Shadow
    from edgefleet.edge.slots import Slot

SUMMARY_BYTES: Final = 4096
_REASON_CHARACTERS: Final = 600
"""More would not fit: a summary has at most 4 kB."""
_NOT_YET: Final = SelfCheck(passed=False, agreed=0, total=0, reason="the package is being loaded")


@dataclass(frozen=True, slots=True)
class Serving:
    """What is there once loading has ended well."""

    slot: Slot
    shadow: Shadow
    quick: bool
    """Whether inferences run on the event loop; see edgefleet.edge.loading."""


@dataclass(slots=True)
class Node:
    """One process; all of it belongs to the event loop's thread."""

    settings: ServerSettings
    boot: str
    books: Bookkeeper
    gate: Gate = field(default_factory=Gate)
    """Of the public door."""
    serving: Serving | None = None
    self_check: SelfCheck = _NOT_YET
    address: str = ""
    """Of the public door, once it is open."""
    drain_asked: asyncio.Event = field(default_factory=asyncio.Event)
    started: float = field(default_factory=time.monotonic)

    @classmethod
    def start(cls, settings: ServerSettings) -> Node:
        """Return the node's state with a new boot id."""
        boot = os.urandom(6).hex()
        return cls(settings, boot, Bookkeeper(settings, boot))

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
            "digest": self.settings.digest,
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
            digest=settings.digest,
            boot=self.boot,
            ready=not self.problem,
            self_check=SelfCheck(
                passed=check.passed,
                agreed=check.agreed,
                total=check.total,
                reason=check.reason[:_REASON_CHARACTERS],
            ),
            warm=total.warm,
            window_s=settings.window_s,
            uptime_s=round(time.monotonic() - self.started, 3),
            p50_ms=p50,
            p95_ms=p95,
            p99_ms=p99,
            queue_depth=self.gate.depth,
            total=total,
            shadow=self.serving.shadow.digest if self.serving else None,
        )
        return msgspec.json.encode(summary)
