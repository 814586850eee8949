"""One server process from start to end: private and status door, loading, public door, drain.

The public socket is accepted on only once the package is verified, loaded, self-checked and warm.
If that fails the process stays: it says why on the doors that are open, and never accepts.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgefleet.edge.bookkeeping import TICK_S
from edgefleet.edge.connections import Door
from edgefleet.edge.contract import SelfCheck, ServerSettings
from edgefleet.edge.errors import PackageError
from edgefleet.edge.node import Node
from edgefleet.edge.private import private_app
from edgefleet.edge.status import status_app
from edgefleet.edge.store import Store
from edgefleet.edge.swap import Swapper

if TYPE_CHECKING:
    from edgefleet.edge.loading import Loaded
    from edgefleet.edge.slots import Slot

_SHADOW_S: Final = 2.0

logger = logging.getLogger(__name__)


async def serve(
    settings: ServerSettings, private: socket.socket | None, status: socket.socket | None
) -> bool:
    """Serve until told to drain; return whether loading had ended, and none is under way.

    `private` and `status` are the sockets of those doors; None: there is no such door.
    """
    node = Node.start(settings)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, node.drain_asked.set)
    asking = await _open_at_once(node, private, status)
    swapper = Swapper(node, Store(Path(settings.store_dir))) if settings.store_dir else None
    loading = asyncio.create_task(_bring_up(node, swapper))
    asked = asyncio.create_task(node.drain_asked.wait())
    doors = [*asking]
    ticking = asyncio.create_task(_tick(node, swapper, doors))
    await asyncio.wait({loading, asked}, return_when=asyncio.FIRST_COMPLETED)
    public = await loading if loading.done() else None
    if public is not None:
        doors.append(public)
    await asked
    loaded = loading.done()
    loading.cancel()
    if swapper is not None and swapper.stop():
        loaded = False
    if public is not None:
        await public.linger(settings.linger_s, settings.linger_max_s)
        await public.drain(settings.drain_s)
    await _shadow_done(node)
    ticking.cancel()
    with suppress(asyncio.CancelledError):
        await ticking
    await node.books.end(time.time())
    for door in asking:
        await door.shut()
    return loaded


async def _open_at_once(
    node: Node, private: socket.socket | None, status: socket.socket | None
) -> list[Door]:
    """Open the doors on which the server says how it is, from its first moment to its last."""
    doors = []
    if private is not None:
        door = Door(private_app(node))
        await door.open_unix(private)
        doors.append(door)
    if status is not None:
        door = Door(status_app(node))
        await door.open_socket(status)
        logger.info("status door: %s", door.address)
        doors.append(door)
    return doors


async def _bring_up(node: Node, swapper: Swapper | None) -> Door | None:
    """Load, then open the public door; None: the package must not serve, and the node says why."""
    if swapper is None:
        await _load_own(node)
    else:
        await swapper.start()
    return None if node.serving is None else await _open(node)


async def _load_own(node: Node) -> None:
    """Load the package that the server was started with, and no other."""
    loop = asyncio.get_running_loop()
    try:
        loaded, shadow = await loop.run_in_executor(
            ThreadPoolExecutor(1, thread_name_prefix="load"), _load, node.settings
        )
    except PackageError as error:
        logger.error("not serving: %s", error)  # noqa: TRY400 - the message says it all
        node.refused = SelfCheck(passed=False, agreed=0, total=0, reason=str(error))
        return
    except Exception as error:  # a boundary: the process lives on to say what happened
        logger.exception("not serving")
        reason = f"loading failed: {type(error).__name__}: {error}"
        node.refused = SelfCheck(passed=False, agreed=0, total=0, reason=reason)
        return
    check = loaded.self_check
    if not check.passed:
        logger.error("not serving: %s", check.reason)
        node.refused = check
        node.books.check(loaded.slot.digest, check, time.time())
        return
    from edgefleet.edge.loading import take_over  # noqa: PLC0415 - imported by the loading thread

    take_over(node, loaded, shadow)


async def _open(node: Node) -> Door:
    # Behind this are numpy and onnxruntime, which only a loaded process needs.
    from edgefleet.edge.public import public_app  # noqa: PLC0415 - imported by the loading thread

    settings = node.settings
    door = Door(public_app(node), node.gate)
    if settings.listen_fd is None:
        listener = socket.create_server((settings.host, settings.port))
    else:
        listener = socket.socket(fileno=settings.listen_fd)
    await door.open_socket(listener)
    node.address = door.address
    return door


def _load(settings: ServerSettings) -> tuple[Loaded, Slot | None]:
    """Load in a thread, and import there what costs time to import."""
    from edgefleet.edge import loading, public  # noqa: F401, PLC0415 - half of the start

    loaded = loading.load(settings, Path(settings.package_dir), settings.digest)
    return loaded, loading.shadow_slot(settings, loaded.slot)


async def _tick(node: Node, swapper: Swapper | None, doors: Sequence[Door]) -> None:
    while True:
        await asyncio.sleep(TICK_S)
        for door in doors:
            door.tick()
        if node.serving is not None:
            node.serving.shadow.refresh()
        if swapper is not None:
            swapper.tick()
        try:
            await node.books.tick(time.time())
        except Exception:  # a full disk must not stop inference: tried again at the next tick
            logger.exception("evidence was not written")


async def _shadow_done(node: Node) -> None:
    """Wait for the reference's last answers, so that they are counted."""
    if node.serving is None:
        return
    end = time.monotonic() + _SHADOW_S
    while node.serving.shadow.waiting and time.monotonic() < end:  # noqa: ASYNC110 - a count
        await asyncio.sleep(TICK_S / 10)
