"""A camera: sends an image every so often over connections that it keeps, and never twice.

Every request is counted for what it was, also those that nobody answered. While its node is being
changed the camera sends more, over more connections, so that a gap would show.
"""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from http import HTTPStatus

import aiohttp

from edgefleet.edge.contract import DIGEST_HEADER, LABEL_HEADER, REQUEST_ID_HEADER
from edgefleet.plant.config import PlantConfig
from edgefleet.plant.parts import Parts
from edgefleet.plant.station import Station
from edgefleet.plant.tape import Tape


class Camera:
    """One node's."""

    def __init__(
        self, config: PlantConfig, parts: Parts, station: Station, tape: Tape, rng: random.Random
    ) -> None:
        """Photograph `parts`; nothing is sent before the node has served once."""
        self.tape = tape
        self.station = station
        self.url = ""
        self._config = config
        self._parts = parts
        self._rng = rng
        self._busy_until = 0.0
        self._lines: dict[int, asyncio.Task[None]] = {}

    @property
    def started(self) -> bool:
        """Whether it sends."""
        return bool(self._lines)

    def see(self, url: str, *, changing: bool, ready: bool, wanted: bool) -> None:
        """Take note of the node; called many times a second."""
        self.url = url
        if not wanted:
            self._cancel()
            return
        if not ready and not self.started:
            return
        if changing:
            self._busy_until = time.monotonic() + self._config.busy_after_s
        lines = self._config.busy_lines if self._busy else 1
        for number in range(lines):
            task = self._lines.get(number)
            if task is None or task.done():
                self._lines[number] = asyncio.create_task(self._line(number))

    async def close(self) -> None:
        """Stop sending."""
        tasks = list(self._lines.values())
        self._cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.station.close()

    @property
    def _busy(self) -> bool:
        return time.monotonic() < self._busy_until

    def _cancel(self) -> None:
        for task in self._lines.values():
            task.cancel()
        self._lines.clear()

    async def _line(self, number: int) -> None:
        """Send over one connection; all but the first line end when the camera is calm again."""
        config = self._config
        # A session per line: a shared pool would send nearly everything over one connection.
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=1, keepalive_timeout=60),
            timeout=aiohttp.ClientTimeout(total=config.timeout_s),
        ) as session:
            # Cameras of a fleet do not fire all at once.
            due = time.monotonic() + self._rng.random() / config.rate_hz / (number + 1)
            while self._busy or number == 0:
                await asyncio.sleep(due - time.monotonic())
                await self._photograph(session)
                every_s = config.busy_lines / config.busy_hz if self._busy else 1 / config.rate_hz
                due = max(due + every_s * self._rng.uniform(0.8, 1.2), time.monotonic())

    async def _photograph(self, session: aiohttp.ClientSession) -> None:
        image, label = self._parts.take(self._rng)
        request_id = uuid.UUID(int=self._rng.getrandbits(128)).hex
        sent = time.time()
        try:
            # aiohttp repeats idempotent methods by itself, never a POST.
            async with session.post(
                f"{self.url}/v2/models/{self._config.model}/raw",
                data=image,
                headers={
                    REQUEST_ID_HEADER: request_id,
                    "content-type": "application/octet-stream",
                },
            ) as answer:
                await answer.read()
        except (aiohttp.ClientError, TimeoutError):
            self.tape.note(sent, "failed")
            return
        if answer.status == HTTPStatus.OK:
            self.tape.note(sent, "ok", answer.headers.get(DIGEST_HEADER, ""))
            wanted = answer.headers.get(LABEL_HEADER, "").lower() == "wanted"
            self.station.saw(request_id, label, wanted=wanted)
        elif answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
            self.tape.note(sent, "refused")
        else:
            self.tape.note(sent, "failed")
