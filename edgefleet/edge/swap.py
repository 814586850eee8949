"""Swapping the model inside a running server, for a node on which no second one can start.

An order in the node's store names the package that is to serve. It is verified, loaded, checked and
warmed up in a thread while the old one serves; only when all of that is well, one assignment
switches. Requests that have begun are answered by what they began with. The slot before stays
loaded, the way back and the reference for shadow; the one before that is dropped, and destroyed in
a thread. So a node needs memory for three models while an order is followed, and for two after it.
Whatever goes wrong, what serves goes on serving, and state.json and the summary say why.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar

from msgspec.structs import replace

from edgefleet.edge.bookkeeping import TICK_S
from edgefleet.edge.contract import SelfCheck, ServerSettings, SwapState
from edgefleet.edge.errors import PackageError
from edgefleet.edge.node import Node, Serving
from edgefleet.edge.store import Order, State, Store

if TYPE_CHECKING:
    from edgefleet.edge.bringing import Start, Unfit
    from edgefleet.edge.loading import Loaded
    from edgefleet.edge.slots import Slot

_NEVER: Final = (0, 0)
_AGAIN_S: Final = 1.0
"""After this, what the disk or an errand's lock refused is tried again."""

logger = logging.getLogger(__name__)
Result = TypeVar("Result")


class Swapper:
    """Follows the orders of one store; its methods belong to the event loop's thread."""

    def __init__(self, node: Node, store: Store) -> None:
        self._node = node
        self._store = store
        self._state = State()
        self._seen: tuple[int, int] | None = _NEVER
        self._retired: Serving | None = None
        self._work: asyncio.Task[None] | None = None
        self._started = False
        self._written = self._tidy = True
        self._again = 0.0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="load")
        self._drop = ThreadPoolExecutor(1, thread_name_prefix="drop")
        node.swap = SwapState(want=None, epoch=0, reason="", pending=False)

    async def start(self) -> None:
        """Return once something serves; edgefleet.edge.bringing says what is tried.

        While nothing may serve, it waits for another order.
        """
        while self._node.serving is None:
            seen = self._store.order_seen()
            good = False
            with suppress(PackageError):
                # It is on its way; one that cannot be read is told of once something serves.
                self._tell(self._store.order())
            try:
                found = await self._in_thread(_start, self._node.settings, self._store)
                good = self._begin(found)
            except Exception as error:  # a boundary: the process lives on to say what happened
                logger.exception("not serving")
                self._refuse(f"loading failed: {type(error).__name__}: {error}")
            # Before it is ready: who waits for an order must not read what was true before.
            await self._write()
            self._tidy = not good
            if self._node.serving is None:
                while self._store.order_seen() == seen:  # noqa: ASYNC110 - others write the file
                    await asyncio.sleep(TICK_S)
        self._started = True

    def tick(self) -> None:
        """Follow a new order; write what is not written yet; drop what nobody needs any more."""
        if not self._started or self._node.drain_asked.is_set() or self.busy:
            return
        self._bury()
        if self._retired is not None:
            # One too many is loaded as long as a slow request is answered by it.
            return
        seen = self._store.order_seen()
        if seen != self._seen:
            self._seen = seen
            self._work = asyncio.create_task(self._look())
        elif not (self._written and self._tidy) and time.monotonic() >= self._again:
            self._work = asyncio.create_task(self._write())

    @property
    def busy(self) -> bool:
        """Whether something is under way in a thread, which nothing can interrupt."""
        return self._work is not None and not self._work.done()

    def stop(self) -> bool:
        """Follow no order any more; return whether a thread may still be at work."""
        busy = self.busy
        if self._work is not None:
            self._work.cancel()
        return busy

    async def _look(self) -> None:
        try:
            order = self._store.order()
        except PackageError as error:
            logger.error("%s", error)  # noqa: TRY400 - the message says it all
            self._node.swap = SwapState(want=None, epoch=0, reason=str(error), pending=False)
            return
        if order is not None and not self._state.settles(order):
            try:
                await self._follow(order)
            except Exception as error:  # a boundary: what serves goes on, and says what happened
                logger.exception("%s", order.want)
                reason = f"it was not followed: {type(error).__name__}: {error}"
                self._state, self._written = self._state.refused(order, reason), False
        self._tell(order)

    async def _follow(self, order: Order) -> None:
        node, serving = self._node, self._node.current
        if order.want == serving.slot.digest:
            self._state = self._state.served(order)
            self._written = self._tidy = False
        else:
            node.swap = SwapState(want=order.want, epoch=order.epoch, reason="", pending=True)
            found = await self._in_thread(
                _follow, node.settings, self._store, self._state, order, serving.previous
            )
            if found is None or node.drain_asked.is_set():
                self._seen = _NEVER
                return
            self._conclude(order, found)
        await self._write()

    def _conclude(self, order: Order, found: Loaded | Unfit) -> None:
        from edgefleet.edge.bringing import Unfit  # noqa: PLC0415 - imported by the loading thread
        from edgefleet.edge.loading import take_over  # noqa: PLC0415 - as above

        before = self._node.current
        self._written = False
        if isinstance(found, Unfit):
            logger.error("%s goes on, not %s: %s", before.slot.digest, order.want, found.reason)
            self._count(found)
            self._state = self._state.refused(order, found.reason)
            return
        take_over(self._node, found, before.slot)
        self._retired = before
        self._tidy = False
        state = replace(self._state, serving=order.want, previous=before.slot.digest)
        self._state = state.served(order)

    def _begin(self, found: Start) -> bool:
        """Serve what was brought up, if anything; return whether that is what was ordered."""
        from edgefleet.edge.loading import take_over  # noqa: PLC0415 - imported by the loading thread

        for unfit in found.unfit:
            self._count(unfit)
        self._state = found.state
        self._written = False
        self._tell(found.order)
        if found.loaded is None:
            self._refuse(found.reason, found.unfit[-1].check if found.unfit else None)
            return False
        take_over(self._node, found.loaded, found.previous)
        return found.order is not None and found.loaded.slot.digest == found.order.want

    def _refuse(self, reason: str, check: SelfCheck | None = None) -> None:
        agreed, total = (check.agreed, check.total) if check else (0, 0)
        self._node.refused = SelfCheck(passed=False, agreed=agreed, total=total, reason=reason)

    def _count(self, unfit: Unfit) -> None:
        if unfit.check is not None:
            self._node.books.check(unfit.digest, unfit.check, time.time())

    def _tell(self, order: Order | None) -> None:
        """Let the summary say what became of the last order."""
        state = self._state
        if order is None:
            self._node.swap = SwapState(want=None, epoch=0, reason="", pending=False)
            return
        settled = state.settles(order)
        self._node.swap = SwapState(
            want=order.want,
            epoch=order.epoch,
            reason=state.reason if settled else "",
            pending=not settled,
        )

    async def _write(self) -> None:
        """Put on the disk what was done, then remove the packages that nobody needs any more."""
        try:
            if not self._written:
                await self._in_thread(self._store.write_state, self._state)
                self._written = True
            if not self._tidy:
                kept = {self._state.serving, self._state.previous}
                await self._in_thread(self._store.tidy, {each for each in kept if each})
                self._tidy = True
        except (OSError, PackageError) as error:
            logger.warning("tried again: %s", error)
            self._again = time.monotonic() + _AGAIN_S

    def _bury(self) -> None:
        """Drop what a swap has replaced, once it has given its last answer."""
        if self._retired is None or self._retired.in_flight or self._retired.shadow.waiting:
            return
        self._retired.shadow.close()
        # The only reference left is in the box, and is dropped by the thread.
        box = [self._retired]
        self._retired = None
        self._drop.submit(box.clear)

    async def _in_thread(self, work: Callable[..., Result], *arguments: object) -> Result:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, work, *arguments)


def _start(settings: ServerSettings, store: Store) -> Start:
    """Bring up in a thread, and import there what costs time to import."""
    from edgefleet.edge import bringing, public  # noqa: F401, PLC0415 - half of the start

    return bringing.start(settings, store)


def _follow(
    settings: ServerSettings, store: Store, state: State, order: Order, beside: Slot | None
) -> Loaded | Unfit | None:
    from edgefleet.edge import bringing  # noqa: PLC0415 - imported at the start

    return bringing.follow(settings, store, state, order, beside)
