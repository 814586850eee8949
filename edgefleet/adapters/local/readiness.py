"""Waiting for a new server: it is ready when it says so itself, and not before."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from edgefleet.adapters.local.server import Server, last_words

_LOOK_S: Final = 0.1
_LOADING: Final = "the package is being loaded"
"""What a server says of its self-check before it has one (edgefleet.edge.node)."""


async def await_ready(
    server: Server, folder: Path, timeout_s: float, wanted: Callable[[], bool]
) -> str:
    """Return why a server does not become ready, in words; empty: it is.

    Its log is in `folder`. `wanted` is asked again and again: an order may change meanwhile.
    """
    digest = server.record.digest[:19]
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if not server.alive:
            words = last_words(folder, server.record.number)
            return f"the server of {digest} ended at its start: {words or 'no word'}"
        if not wanted():
            return f"{digest} is not ordered any more"
        seen = await server.summary()
        if seen is not None and seen.ready and seen.self_check.passed:
            return ""
        reason = "" if seen is None or seen.self_check.passed else seen.self_check.reason
        if reason and reason != _LOADING:
            return reason
        with suppress(TimeoutError):
            await asyncio.wait_for(server.exited.wait(), _LOOK_S)
    return f"the server of {digest} was not ready after {timeout_s:g} s"
