"""All cameras and QA stations of a plant, in one event loop.

Which nodes there are, where they answer and which are being changed is asked from the supervisor
ten times a second. While the supervisor is away, the cameras go on with what they know.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

import aiohttp
import msgspec

from edgefleet.plant.camera import Camera
from edgefleet.plant.config import PlantConfig
from edgefleet.plant.parts import Parts
from edgefleet.plant.record import FOLDER, log_path
from edgefleet.plant.station import Station
from edgefleet.plant.tape import Tape

NOW_FILE: Final = "now.json"
_LOOK_S: Final = 0.1
_AWAY_S: Final = 0.5
_WRITE_S: Final = 1.0


class Now(msgspec.Struct, frozen=True, kw_only=True):
    """Totals since this plant was started, written once a second: `plant/now.json`."""

    time: float
    cameras: int
    ok: int
    failed: int
    refused: int
    labels: int
    rate_hz: float
    """Requests per second since the last time."""


class _Address(msgspec.Struct, frozen=True):
    url: str


class _Seen(msgspec.Struct, frozen=True):
    factory: str
    node: str
    workload: str
    url: str
    changing: bool
    ready: bool
    wanted: bool


class Floor:
    """See the module."""

    def __init__(self, config: PlantConfig, parts: Callable[[str], Parts]) -> None:
        """`parts(factory)` is called once for each factory."""
        self._config = config
        self._root = Path(config.root)
        self._make_parts = parts
        self._parts: dict[str, Parts] = {}
        self._cameras: dict[tuple[str, str], Camera] = {}
        self._last = (time.monotonic(), 0)
        (self._root / FOLDER).mkdir(parents=True, exist_ok=True)

    async def run(self, end: asyncio.Event) -> None:
        """Run until told to end."""
        timeout = aiohttp.ClientTimeout(total=self._config.timeout_s)
        async with (
            aiohttp.ClientSession(timeout=timeout) as supervisor,
            aiohttp.ClientSession(
                timeout=timeout,
                connector=aiohttp.TCPConnector(force_close=True),
                headers={"content-type": "application/json"},
            ) as labels,
        ):
            tasks = [
                asyncio.create_task(work)
                for work in (self._watch(supervisor, labels), self._write(), self._disagreements())
            ]
            ended = asyncio.create_task(end.wait())
            await asyncio.wait({*tasks, ended}, return_when=asyncio.FIRST_COMPLETED)
            broken = [task for task in tasks if task.done()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*(camera.close() for camera in self._cameras.values()))
            await asyncio.gather(*tasks, return_exceptions=True)
            self._flush()
            for task in broken:
                task.result()  # raises what broke it

    async def _watch(
        self, supervisor: aiohttp.ClientSession, labels: aiohttp.ClientSession
    ) -> None:
        while True:
            try:
                url = msgspec.json.decode(
                    (self._root / "supervisor.json").read_bytes(), type=_Address
                ).url
                async with supervisor.get(f"{url}/plant") as answer:
                    seen = msgspec.json.decode(await answer.read(), type=tuple[_Seen, ...])
            except (OSError, aiohttp.ClientError, TimeoutError, msgspec.MsgspecError):
                # Away: the cameras' clocks go on, changes are seen when it is back.
                await asyncio.sleep(_AWAY_S)
                continue
            for one in seen:
                if self._is_ours(one):
                    camera = await self._camera(one, labels)
                    camera.see(one.url, changing=one.changing, ready=one.ready, wanted=one.wanted)
            await asyncio.sleep(_LOOK_S)

    def _is_ours(self, seen: _Seen) -> bool:
        names = self._config.nodes
        ours = not names or f"{seen.factory}/{seen.node}" in names
        return ours and seen.workload == self._config.workload

    async def _camera(self, seen: _Seen, labels: aiohttp.ClientSession) -> Camera:
        key = (seen.factory, seen.node)
        if key not in self._cameras:
            if seen.factory not in self._parts:
                # Drawing takes a second or so; the other cameras must not stop meanwhile.
                self._parts[seen.factory] = await asyncio.to_thread(self._make_parts, seen.factory)
            station = Station(labels, lambda: self._cameras[key].url, self._config.label_delay_s)
            tape = Tape(log_path(self._root, seen.workload, seen.factory, seen.node))
            rng = random.Random(f"{self._config.seed}/{seen.factory}/{seen.node}/{time.time_ns()}")  # noqa: S311 - request ids must differ, not be secret
            self._cameras[key] = Camera(self._config, self._parts[seen.factory], station, tape, rng)
        return self._cameras[key]

    async def _disagreements(self) -> None:
        every_s = self._config.wanted_every_s
        while every_s > 0:
            # Spread over the interval, so that the nodes are not asked all at once.
            started = [camera for camera in self._cameras.values() if camera.started]
            for camera in started:
                await camera.station.look_at_disagreements()
                await asyncio.sleep(every_s / len(started))
            if not started:
                await asyncio.sleep(_AWAY_S)
        await asyncio.Event().wait()

    async def _write(self) -> None:
        while True:
            await asyncio.sleep(_WRITE_S)
            self._flush()

    def _flush(self) -> None:
        totals: Counter[str] = Counter()
        for camera in self._cameras.values():
            camera.tape.flush()
            totals += camera.tape.totals
        at, before = self._last
        self._last = (time.monotonic(), totals.total())
        now = Now(
            time=time.time(),
            cameras=sum(camera.started for camera in self._cameras.values()),
            ok=totals["ok"],
            failed=totals["failed"],
            refused=totals["refused"],
            labels=sum(camera.station.sent for camera in self._cameras.values()),
            rate_hz=round((totals.total() - before) / max(time.monotonic() - at, 1e-3), 1),
        )
        fresh = self._root / FOLDER / f".{NOW_FILE}"
        fresh.write_bytes(msgspec.json.encode(now))
        fresh.replace(self._root / FOLDER / NOW_FILE)
