"""One server process from start to end: private door, loading, public door, drain.

The public socket is accepted on only once the package is verified, loaded, self-checked and warm.
If that fails the process stays: it says why on the private door, and never accepts.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgefleet.edge.bookkeeping import TICK_S
from edgefleet.edge.connections import Door
from edgefleet.edge.contract import SelfCheck, ServerSettings
from edgefleet.edge.errors import PackageError
from edgefleet.edge.node import Node, Serving
from edgefleet.edge.private import private_app

if TYPE_CHECKING:
    from edgefleet.edge.loading import Loaded

_SHADOW_S: Final = 2.0

logger = logging.getLogger(__name__)


async def serve(settings: ServerSettings, listener: socket.socket) -> bool:
    """Serve until told to drain, privately on `listener`; return whether loading had ended."""
    node = Node.start(settings)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, node.drain_asked.set)
    private = Door(private_app(node))
    await private.open_unix(listener)
    loading = asyncio.create_task(_bring_up(node))
    asked = asyncio.create_task(node.drain_asked.wait())
    ticking = asyncio.create_task(_tick(node, private))
    await asyncio.wait({loading, asked}, return_when=asyncio.FIRST_COMPLETED)
    public = await loading if loading.done() else None
    await asked
    loaded = loading.done()
    loading.cancel()
    if public is not None:
        await public.drain(settings.drain_s)
    await _shadow_done(node)
    ticking.cancel()
    with suppress(asyncio.CancelledError):
        await ticking
    await node.books.end(time.time())
    await private.shut()
    return loaded


async def _bring_up(node: Node) -> Door | None:
    """Load, then open the public door; None: the package must not serve, and the node says why."""
    loop = asyncio.get_running_loop()
    try:
        loaded = await loop.run_in_executor(
            ThreadPoolExecutor(1, thread_name_prefix="load"), _load, node.settings
        )
    except PackageError as error:
        logger.error("not serving: %s", error)  # noqa: TRY400 - the message says it all
        node.self_check = SelfCheck(passed=False, agreed=0, total=0, reason=str(error))
        return None
    except Exception as error:  # a boundary: the process lives on to say what happened
        logger.exception("not serving")
        reason = f"loading failed: {type(error).__name__}: {error}"
        node.self_check = SelfCheck(passed=False, agreed=0, total=0, reason=reason)
        return None
    check = loaded.self_check
    sums = node.books.book.at(node.books.book.window(time.time())).sums
    sums["golden_total"] += check.total
    sums["golden_agreed"] += check.agreed
    node.self_check = check
    if not check.passed:
        logger.error("not serving: %s", check.reason)
        return None
    return await _open(node, loaded)


async def _open(node: Node, loaded: Loaded) -> Door:
    # Behind these are numpy and onnxruntime, which only a loaded process needs.
    from edgefleet.edge.public import public_app  # noqa: PLC0415 - imported by the loading thread
    from edgefleet.edge.shadow import Shadow  # noqa: PLC0415 - as above

    settings = node.settings
    order_file = Path(settings.shadow_order_file) if settings.shadow_order_file else None
    shadow = Shadow(loaded.slot, loaded.previous, order_file)
    node.serving = Serving(loaded.slot, shadow, loaded.quick)
    door = Door(public_app(node), node.gate)
    if settings.listen_fd is None:
        listener = socket.create_server((settings.host, settings.port))
    else:
        listener = socket.socket(fileno=settings.listen_fd)
    node.books.book.begin(time.time())
    await door.open_socket(listener)
    node.address = door.address
    return door


def _load(settings: ServerSettings) -> Loaded:
    """Load in a thread, and import there what costs time to import."""
    from edgefleet.edge import loading, public, shadow  # noqa: F401, PLC0415 - half of the start

    return loading.load(settings)


async def _tick(node: Node, private: Door) -> None:
    while True:
        await asyncio.sleep(TICK_S)
        private.tick()
        if node.serving is not None:
            node.serving.shadow.refresh()
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
