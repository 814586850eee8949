"""A clock that runs only while somebody sleeps on it: a rehearsal of three hours takes seconds."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Final

START: Final = datetime(2026, 1, 5, 6, 0, tzinfo=UTC)
"""A Monday morning; the default, so that a rehearsal is the same every time."""


class MemoryClock:
    """Implements `ports.Clock`; safe for threads.

    Threads that sleep at the same time share the time: two sleepers of 10 s move it by 10 s, if the
    second calls before the first has moved it, else by 20 s. It never runs backwards.
    """

    def __init__(self, start: datetime = START) -> None:
        if start.tzinfo is None:
            message = f"start {start.isoformat()} has no zone: give an aware time"
            raise ValueError(message)
        self._now = start.astimezone(UTC)
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """Return the virtual time, aware, UTC."""
        with self._lock:
            return self._now

    def sleep(self, seconds: float) -> None:
        """Move the virtual time on by `seconds` from now."""
        until = self.now() + timedelta(seconds=max(seconds, 0.0))
        time.sleep(0)  # lets another sleeper read the same "now" first
        with self._lock:
            self._now = max(self._now, until)
