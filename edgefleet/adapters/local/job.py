"""One workload on one node: brings about what is ordered, one level-triggered loop.

A change starts the new server on the same listening socket, waits until it says itself that it is
ready, and only then drains the old one. If it never does, it is ended and the old one goes on
untouched. A server that dies is started again, with growing waits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import msgspec

from edgefleet.adapters.local.backoff import Backoff
from edgefleet.adapters.local.books import Books, Order
from edgefleet.adapters.local.crew import Crew
from edgefleet.adapters.local.disk import write_whole
from edgefleet.adapters.local.door import Door
from edgefleet.adapters.local.journal import Event, Kind
from edgefleet.adapters.local.manner import Manner, Place, server_settings
from edgefleet.adapters.local.pulls import Pulls
from edgefleet.adapters.local.readiness import await_ready
from edgefleet.adapters.local.server import Server, last_words
from edgefleet.edge.contract import Digest, ShadowOrder
from edgefleet.fleet.inventory import Serving

_OFFLINE_LOOK_S: Final = 0.5
_STEADY_S: Final = 10.0
"""A server that ran for so long died of something new."""
_SNAPSHOT_AGE_S: Final = 0.5
_END_S: Final = 2.0


class Job:
    """See the module."""

    def __init__(self, place: Place, pulls: Pulls, manner: Manner, cut: Callable[[], bool]) -> None:
        """Read what the disk knows; `run` brings it about. `cut`: orders do not reach the node."""
        self.place = place
        self.problem = ""
        self._pulls = pulls
        self._manner = manner
        self._cut = cut
        self._moves = 0
        self._books = Books(place.folder)
        self._crew = Crew(self._books, place.folder)
        self.door = Door(place.folder, lambda: self._books.running.port, cut)
        self._wake = asyncio.Event()
        self._starts = Backoff(0.5, 10.0)
        self._changes = Backoff(10.0, 300.0)
        self._drains: set[asyncio.Task[None]] = set()
        self._settled: Callable[[], None] = lambda: None

    @property
    def ordered(self) -> Digest | None:
        """What was last ordered."""
        return self._books.order.want

    @property
    def running(self) -> Digest | None:
        """The package of the server that serves, None if none does."""
        return self._crew.current.record.digest if self._crew.current else None

    @property
    def changing(self) -> bool:
        """Whether a server is being replaced, from before its start to the end of the old one."""
        return self._moves > 0

    @property
    def ready(self) -> bool:
        """Whether a server serves that once said it was ready."""
        return self._crew.current is not None and self._crew.current.alive

    @property
    def url(self) -> str:
        """Where its server answers cameras; the centre comes through the door."""
        return f"http://127.0.0.1:{self._books.running.port}"

    def in_use(self) -> frozenset[Digest]:
        """Return the packages that must stay on the node."""
        running = self._books.running
        known = {self.ordered, running.stable, running.previous}
        known |= {d for record in running.servers for d in (record.digest, record.previous)}
        return frozenset(digest for digest in known if digest is not None)

    def order(self, want: Digest | None) -> None:
        """Order a package, or None: serve nothing."""
        if want != self.ordered:
            self.problem = ""
            self._books.write_order(Order(want=want))
            if want is not None:
                self._changes.forget(want)
                self._starts.forget(want)
        self._wake.set()

    def shadow(self, order: ShadowOrder) -> None:
        """Tell the servers, this one and later ones, whom to answer a second time with."""
        write_whole(self.place.shadow_file, order)

    def on_settled(self, call: Callable[[], None]) -> None:
        """Have `call` called when an old server has ended: its package may be removed."""
        self._settled = call

    def look(self) -> None:
        """Look again: something that it waits for may have come."""
        self._wake.set()

    async def serving(self) -> Serving | None:
        """Return what the node's own server answers."""
        server = self._crew.current
        if server is None or not server.alive:
            return None
        seen = await server.summary(_SNAPSHOT_AGE_S)
        if seen is None:
            return None
        check = seen.self_check
        return Serving(
            seen.digest,
            seen.ready,
            check.passed,
            seen.boot,
            self.door.url,
            "" if seen.ready else check.reason,
        )

    async def run(self) -> None:
        """Adopt what runs, then bring about what is ordered, for ever."""
        await self.door.open()
        for leftover in self._crew.adopt(self._wake.set):
            self._drain(leftover, None)
        while True:
            self._wake.clear()
            wait_s = await self._converge()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), wait_s)

    async def stop(self) -> None:
        """End all servers, quickly; the orders stay."""
        for task in self._drains:
            task.cancel()
        await asyncio.gather(*self._drains, return_exceptions=True)
        await self.door.close()
        await self._crew.end_all(_END_S)

    async def _converge(self) -> float | None:
        """Do what can be done now; return when to look again, None: when woken."""
        self._bury()
        ordered = self._books.running.stable if self._cut() else self.ordered
        look_again = _OFFLINE_LOOK_S if ordered != self.ordered else None
        current = self._crew.current
        if ordered is None:
            if current is not None:
                self._crew.retire()
                self._drain(current, None)
                self._note("stopped", old=current.record.digest)
            self._crew.close_socket()
            return look_again
        if current is not None and current.record.digest == ordered:
            self.problem = ""
            return look_again
        choices = [ordered] if current else [ordered, self._books.running.stable]
        waits = [await self._try(digest) for digest in dict.fromkeys(choices) if digest]
        due = [wait for wait in waits if wait is not None]
        return min(due) if due else look_again

    async def _try(self, digest: Digest) -> float | None:
        """Try to have `digest` served; return when to try again, None: no need, or not by time."""
        if self._crew.current is not None and digest != self.ordered:
            return None
        if not self._pulls.present(digest):
            if digest == self.ordered and not self._pulls.pulling(digest):
                self.problem = f"{digest[:19]} is not on the node: hold it first"
            return None
        backoff = self._changes if self._crew.current else self._starts
        wait_s = backoff.wait_s(digest, time.monotonic())
        if wait_s:
            return wait_s
        async with self._manner.gate:
            reason = await self._change_to(digest) if self._wanted(digest) else ""
        if not self._wanted(digest):
            return 0.0
        if not reason:
            self._changes.forget(digest)
            return None
        backoff.failed(digest, time.monotonic())
        if digest == self.ordered:
            self.problem = reason
        self._note("failed", old=self.running, new=digest, reason=reason)
        return backoff.wait_s(digest, time.monotonic())

    async def _change_to(self, digest: Digest) -> str:
        """Start a server and let it take over; return why it did not, empty: it did."""
        old, place = self._crew.current, self.place
        self._moves += 1
        if old is not None:
            await asyncio.sleep(self._manner.lead_s)
        server = self._start(digest)
        reason = await await_ready(
            server, place.folder, self._manner.ready_timeout_s, lambda: self._wanted(digest)
        )
        if reason:
            await server.end(_END_S)
            self._crew.dismiss(server)
            self._moves -= 1
            return reason
        self._crew.promote(server)
        if self.ordered == digest:
            self.problem = ""
        # An old server that died meanwhile has nothing to drain: then this was a start.
        if old is None or not old.alive:
            self._moves -= 1
            if old is not None:
                self._crew.dismiss(old)
            self._note("started", new=digest)
        else:
            cutover = self._event("cutover", old=old.record.digest, new=digest)
            self._drain(old, cutover)
        return ""

    def _start(self, digest: Digest) -> Server:
        number = self._crew.next_number()
        before = self._crew.reference_for(digest)
        here = before is not None and self._pulls.present(before)
        settings = server_settings(
            self.place,
            self._manner,
            digest=digest,
            package=self._pulls.folder_of(digest),
            reference=(before, self._pulls.folder_of(before)) if before and here else None,
            listen_fd=self._crew.socket_fd(),
            private_socket=str(self._manner.sockets / f"{self._crew.name}-{number}.sock"),
        )
        server = self._crew.start(settings, digest)
        server.on_exit(self._wake.set)
        return server

    def _wanted(self, digest: Digest) -> bool:
        return digest in {self.ordered, self._books.running.stable}

    def _bury(self) -> None:
        """Take note of a server that died while it served."""
        dead = self._crew.current
        if dead is None or dead.alive:
            return
        self._crew.dismiss(dead)
        digest = dead.record.digest
        if time.monotonic() - dead.since > _STEADY_S:
            self._starts.forget(digest)
        self._starts.failed(digest, time.monotonic())
        words = last_words(self.place.folder, dead.record.number)
        self.problem = (
            f"the server of {digest[:19]} died, it is started again: {words or 'no word'}"
        )
        self._note("died", old=digest, reason=words)

    def _drain(self, server: Server, cutover: Event | None) -> None:
        async def drained() -> None:
            await server.drain(self._manner.drain_s)
            self._crew.dismiss(server)
            if cutover is not None:
                ended = msgspec.structs.replace(cutover, ready=cutover.time, drained=time.time())
                self._manner.journal.note(ended)
                self._moves -= 1
                self._settled()

        task = asyncio.create_task(drained())
        self._drains.add(task)
        task.add_done_callback(self._drains.discard)

    def _note(
        self, kind: Kind, *, old: Digest | None = None, new: Digest | None = None, reason: str = ""
    ) -> None:
        self._manner.journal.note(self._event(kind, old=old, new=new, reason=reason))

    def _event(
        self, kind: Kind, *, old: Digest | None = None, new: Digest | None = None, reason: str = ""
    ) -> Event:
        place = self.place
        return Event(
            time=time.time(),
            kind=kind,
            factory=place.factory,
            node=place.node,
            workload=place.workload,
            old=old,
            new=new,
            reason=reason,
        )
