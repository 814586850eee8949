"""A network link with a rate: a token bucket without a burst, fair between those who share it."""

from __future__ import annotations

import asyncio


class Link:
    """Carries bytes at `mbit` megabits a second in all, whoever asks."""

    def __init__(self, mbit: float) -> None:
        """Set the rate; nothing is on the wire yet."""
        self._bytes_per_s = mbit * 1e6 / 8
        self._free_at = 0.0

    async def carry(self, size: int) -> None:
        """Wait until `size` more bytes have crossed the link."""
        now = asyncio.get_running_loop().time()
        self._free_at = max(now, self._free_at) + size / self._bytes_per_s
        await asyncio.sleep(self._free_at - now)
