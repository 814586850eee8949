"""One simulated node: its folder, its images, its jobs, and two files by which people play tricks.

`HOLD` in the folder is the factory's veto, its content the reason. `OFFLINE` cuts the node's link:
it shows nothing and no order reaches it, but its servers go on serving; what was ordered meanwhile
is brought about when the file is gone. A cut of its own accord (`unplug`) is the same with an end,
which stands in the folder, and is over then, whoever lives.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from edgefleet.adapters.local.config import NodeConfig
from edgefleet.adapters.local.disk import read_whole, write_whole
from edgefleet.adapters.local.job import Job
from edgefleet.adapters.local.manner import Manner, Place
from edgefleet.adapters.local.pulls import Pulls, Wires, failed_reason
from edgefleet.edge.contract import Digest, Needs
from edgefleet.fleet.drill import LONGEST_S, check_cut
from edgefleet.fleet.inventory import NodeView

_MEMORY: Final = Path("/proc/meminfo")


class _Unplugged(msgspec.Struct, frozen=True):
    """Until when the link is cut, unix seconds: `unplugged.json` in the node's folder."""

    until: float = 0.0


class Node:
    """See the module."""

    def __init__(
        self,
        factory: str,
        config: NodeConfig,
        folder: Path,
        wires: Wires,
        manner: Manner,
        label_rate: float,
        failures: Callable[[str, Digest], str],
    ) -> None:
        """Read what the disk knows; `run` brings it about."""
        folder.mkdir(parents=True, exist_ok=True)
        self.name = config.name
        self._factory = factory
        self._config = config
        self._folder = folder
        self._manner = manner
        self._label_rate = label_rate if config.label_rate is None else config.label_rate
        self._failures = failures
        self._unplugged_file = folder / "unplugged.json"
        self._unplugged = read_whole(self._unplugged_file, _Unplugged, _Unplugged())
        self.pulls = Pulls(folder, config.disk_mb, wires, self, self._arrived)
        self.jobs: dict[str, Job] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Go on with everything that the disk knows."""
        self.pulls.resume()
        for file in sorted(self._folder.glob("jobs/*/order.json")):
            self.job(file.parent.name)

    def job(self, workload: str) -> Job:
        """Return a job, made at its first order."""
        if workload not in self.jobs:
            place = Place(
                factory=self._factory,
                node=self.name,
                workload=workload,
                label_rate=self._label_rate,
                folder=self._folder / "jobs" / workload,
            )
            job = Job(place, self.pulls, self._manner, lambda: self.offline)
            job.on_settled(self.collect)
            self.jobs[workload] = job
            self._tasks.append(asyncio.create_task(job.run()))
        return self.jobs[workload]

    async def stop(self) -> None:
        """End all servers; what was ordered is on disk."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.pulls.close()
        await asyncio.gather(*(job.stop() for job in self.jobs.values()))

    @property
    def offline(self) -> bool:
        """Whether its link is cut."""
        left_s = self._unplugged.until - time.time()
        # A clock that was set back must not make it longer.
        return 0 < left_s <= LONGEST_S or (self._folder / "OFFLINE").exists()

    def unplug(self, seconds: float) -> None:
        """Cut its link for so long; 0: restore it.

        Raises:
            Refused: it is for too long, or no time at all.
        """
        check_cut(self.name, seconds)
        unplugged = _Unplugged(time.time() + seconds)
        write_whole(self._unplugged_file, unplugged)
        self._unplugged = unplugged
        for job in self.jobs.values():
            if self.offline:
                job.door.shut()

    def seeder_failed(self, seed: str, digest: Digest) -> str:
        """Return why another node's pull failed, empty if it did not."""
        return self._failures(seed, digest)

    def pull_failed(self, digest: Digest) -> str:
        """Return why this node's own pull failed, empty if it did not."""
        return failed_reason(self.pulls.listed(), digest)

    def collect(self) -> None:
        """Remove packages that nobody holds and nothing uses."""
        jobs = self.jobs.values()
        self.pulls.collect(frozenset(digest for job in jobs for digest in job.in_use()))

    async def view(self, workload: str, free: Needs) -> NodeView:
        """Return the node as it is seen now."""
        job = self.jobs.get(workload)
        online = not self.offline
        return NodeView(
            node=self.name,
            factory=self._factory,
            labels=self._config.labels,
            online=online,
            serving=await job.serving() if job is not None and online else None,
            ordered=job.ordered if job is not None else None,
            hold_reason=self._veto(),
            pulls=self.pulls.listed(),
            free=free if online else None,
            disk_free_mb=self.pulls.free_mb if online else 0,
            problem=job.problem if job is not None and online else "",
        )

    def _veto(self) -> str | None:
        try:
            return (self._folder / "HOLD").read_text().strip() or "no reason given"
        except FileNotFoundError:
            return None

    def _arrived(self) -> None:
        for job in self.jobs.values():
            job.look()


def free_now() -> Needs:
    """Return what the machine has to spare, shared by all nodes that it simulates; Linux only.

    Nobody reserves processor time here: every node is said to have the whole machine.
    """
    memory_mb = 0
    for line in _MEMORY.read_text().splitlines():
        if line.startswith("MemAvailable:"):
            memory_mb = int(line.split()[1]) // 1024
    return Needs(memory_mb=memory_mb, cpu_millis=1000 * (os.cpu_count() or 1))
