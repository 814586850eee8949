"""HTTP connections: who is being answered, and how to end without losing a request.

uvicorn's own server closes idle keep-alive connections at once when it stops; a client that is just
sending then sees a reset. So its protocol class is used here without its server, with two more
rules. Once told to end, every answer says `Connection: close`: whoever comes again does so by a new
connection, and as long as those arrive, somebody still takes this process for the one that serves.
While draining, no new connection is accepted (other processes hold the same listening socket), and
one that stays idle is closed only after half of the drain time.
"""

from __future__ import annotations

import asyncio
import socket
import time
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

_BACKLOG: Final = 2048
_KEEP_ALIVE_S: Final = 120
"""Longer than the slowest camera or scraper waits between two requests: closing an idle
connection always races with a request that is just being sent."""
_TICK_S: Final = 0.05
_SHUT_S: Final = 1.0


@dataclass(slots=True)
class Gate:
    """What the connections of one server share."""

    depth: int = 0
    """Requests that came in and are not answered yet, also those still waiting for their turn.
    Labels are not among them: they wait for the disk, and nobody waits for them."""
    leaving: bool = False
    """Whether each answer is its connection's last."""
    asked: float = 0.0
    """When the last request came in that is among those of `depth` (monotonic seconds)."""


class Connection(HttpToolsProtocol):
    """uvicorn's protocol, which also counts what waits, notes times and says goodbye."""

    gate: Gate
    touched: float

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        """Accept a connection."""
        self.gate = self.app_state["gate"]
        self.touched = time.monotonic()
        super().connection_made(transport)
        # One that never sends a byte is not kept either.
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def data_received(self, data: bytes) -> None:
        """Take bytes from the client."""
        self.touched = time.monotonic()
        super().data_received(data)

    def on_headers_complete(self) -> None:
        """Start answering; once the server leaves, this answer is the connection's last."""
        super().on_headers_complete()
        if self.gate.leaving:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """Note when the whole request was here: latency counts from then."""
        self.scope["state"]["arrived"] = time.perf_counter()
        super().on_message_complete()

    def say_goodbye(self) -> None:
        """Make the answer that is under way the last one, unless its head is sent already."""
        if self.busy and not self.cycle.response_started:
            self.cycle.keep_alive = False

    @property
    def busy(self) -> bool:
        """Whether a request is being received or answered."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        # Counted here and not when the task first runs: requests that came in together wait for
        # each other, and that queue would be invisible.
        if _queues(cycle.scope):
            self.gate.depth += 1
            self.gate.asked = time.monotonic()
        super()._start_asgi_task(cycle, app)


@dataclass(slots=True)
class Door:
    """One application behind one listening socket."""

    app: ASGIApp
    gate: Gate = field(default_factory=Gate)
    _state: ServerState = field(default_factory=ServerState)
    _server: asyncio.AbstractServer | None = None
    address: str = ""

    async def open_socket(self, listener: socket.socket) -> None:
        """Accept on a listening (or bound) TCP socket."""
        loop = asyncio.get_running_loop()
        listener.setblocking(False)
        self._server = await loop.create_server(self._protocol(), sock=listener, backlog=_BACKLOG)
        self.address = "{}:{}".format(*listener.getsockname()[:2])

    async def open_unix(self, listener: socket.socket) -> None:
        """Accept on a bound unix socket."""
        loop = asyncio.get_running_loop()
        listener.setblocking(False)
        self._server = await loop.create_unix_server(self._protocol(), sock=listener)
        self.address = str(listener.getsockname())

    def tick(self) -> None:
        """Renew the Date header; once a second is enough."""
        self._state.default_headers = [(b"date", formatdate(usegmt=True).encode())]

    async def linger(self, quiet_s: float, longest_s: float) -> None:
        """Go on accepting; return when nobody has asked for `quiet_s`, or after `longest_s`."""
        start = time.monotonic()
        self._leave()
        while (now := time.monotonic()) < start + longest_s:
            if now >= max(start, self.gate.asked) + quiet_s:
                return
            await asyncio.sleep(_TICK_S)

    async def drain(self, seconds: float) -> None:
        """Stop accepting at once; return when no connection is left or the time is over."""
        self._close()
        self._leave()
        start = time.monotonic()
        while self._state.connections and time.monotonic() < start + seconds:
            idle_since = time.monotonic() - seconds / 2
            for connection in self._connections():
                if not connection.busy and max(connection.touched, start) < idle_since:
                    connection.transport.close()
            await asyncio.sleep(_TICK_S)
        for connection in self._connections():
            connection.transport.close()

    async def shut(self) -> None:
        """Close the door and what is left of its connections, once their answers are written."""
        self._close()
        for connection in self._connections():
            connection.shutdown()
        end = time.monotonic() + _SHUT_S
        while self._state.connections and time.monotonic() < end:  # noqa: ASYNC110 - a plain set
            await asyncio.sleep(_TICK_S)

    def _leave(self) -> None:
        self.gate.leaving = True
        for connection in self._connections():
            connection.say_goodbye()

    def _close(self) -> None:
        if self._server is not None:
            # Closes our descriptor only: a socket shared with other processes goes on listening.
            self._server.close()
            self._server = None

    def _connections(self) -> list[Connection]:
        return [one for one in self._state.connections if isinstance(one, Connection)]

    def _protocol(self) -> type[asyncio.Protocol]:
        self.tick()
        config = Config(
            _Counted(self.app, self.gate),
            http=Connection,
            ws="none",
            loop="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
        )
        config.load()
        app_state = {"gate": self.gate}

        def make() -> Connection:
            return Connection(config=config, server_state=self._state, app_state=app_state)

        return make  # type: ignore[return-value] # a factory is all that asyncio asks for


def private_listener(path: Path) -> socket.socket:
    """Return a bound unix socket that only our own user may connect to."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    path.chmod(0o600)
    return listener


@dataclass(frozen=True, slots=True)
class _Counted:
    """Takes a request off the count when it is answered, however it ended."""

    app: ASGIApp
    gate: Gate

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        queues = _queues(scope)  # first: a router changes what it is given
        try:
            await self.app(scope, receive, send)
        finally:
            self.gate.depth -= queues


def _queues(scope: Any) -> bool:
    """Say whether a request is one of those of which only so many are taken."""
    return not str(scope["path"]).startswith("/feedback")
