"""`python -m edgefleet.adapters.local.supervisor CONFIG.json`: the whole local fleet, one process.

Stands in for kubelet and API server of every factory. SIGTERM ends all servers and keeps the
orders; SIGKILL leaves the servers running, and the next start adopts them. One per root folder.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any, Final

import msgspec
import uvicorn

from edgefleet.adapters.local.app import supervisor_app
from edgefleet.adapters.local.config import SupervisorConfig, load_config
from edgefleet.adapters.local.disk import read_whole, write_whole
from edgefleet.adapters.local.factory import Factory
from edgefleet.adapters.local.journal import Journal
from edgefleet.adapters.local.manner import Manner
from edgefleet.adapters.local.sockets import open_listener, socket_folder
from edgefleet.errors import EdgefleetError, Refused

ADDRESS_FILE: Final = "supervisor.json"
EVENTS_FILE: Final = "events.jsonl"


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where a supervisor is: `supervisor.json` in its root."""

    pid: int = 0
    url: str = ""


def run(config: SupervisorConfig) -> None:
    """Supervise until SIGTERM.

    Raises:
        Refused: another supervisor has this root.
    """
    root = Path(config.root)
    root.mkdir(parents=True, exist_ok=True)
    with (root / "supervisor.lock").open("w") as lock:
        _claim(lock, root)
        listener = _listener(root)
        # uvicorn raises the signal again after its own clean end: we have ended by then.
        signal.signal(signal.SIGTERM, lambda _number, _frame: None)
        asyncio.run(_serve(config, root, listener))


async def _serve(config: SupervisorConfig, root: Path, listener: socket.socket) -> None:
    manner = Manner(
        trust_dir=config.trust_dir,
        sockets=socket_folder(root),
        gate=asyncio.Semaphore(config.start_at_once),
        journal=Journal(root / EVENTS_FILE),
        window_s=config.window_s,
        warmup_windows=config.warmup_windows,
        threads=config.threads,
        lead_s=config.cutover_lead_s,
        ready_timeout_s=config.ready_timeout_s,
        drain_s=config.drain_s,
    )
    factories = {factory.name: Factory(factory, config, manner) for factory in config.factories}

    @asynccontextmanager
    async def lifespan(_app: Any) -> AsyncIterator[None]:
        for factory in factories.values():
            factory.start()
        address = "http://{}:{}".format(*listener.getsockname()[:2])
        write_whole(root / ADDRESS_FILE, Address(pid=os.getpid(), url=address))
        yield
        await asyncio.gather(*(factory.stop() for factory in factories.values()))

    server = uvicorn.Server(
        uvicorn.Config(
            supervisor_app(factories, lifespan),
            log_level="warning",
            access_log=False,
            lifespan="on",
            timeout_graceful_shutdown=2,
        )
    )
    await server.serve(sockets=[listener])


def _listener(root: Path) -> socket.socket:
    """Return a listening socket: the address of the last supervisor, if it is free."""
    last = read_whole(root / ADDRESS_FILE, Address, Address())
    port = last.url.rpartition(":")[2]
    return open_listener(int(port) if port else 0)


def _claim(lock: IO[str], root: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        other = read_whole(root / ADDRESS_FILE, Address, Address())
        problem = f"is run by the supervisor with pid {other.pid}"
        raise Refused(str(root), problem, "End that one, or choose another root") from None


def main(arguments: list[str]) -> int:
    """Run a supervisor; return the exit code."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m edgefleet.adapters.local.supervisor CONFIG.json\n")
        return 2
    try:
        run(load_config(Path(arguments[0])))
    except EdgefleetError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
