"""The servers of one workload on one node, and the listening socket that they share.

Every step is on disk before it matters, so a supervisor that is killed at any line finds all its
servers again: the newest ready one serves, the others are drained.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import msgspec

from edgefleet.adapters.local.books import Books, Running
from edgefleet.adapters.local.server import Server, adopt, log_file, start
from edgefleet.adapters.local.sockets import bind_beside, open_listener, take_back
from edgefleet.edge.contract import Digest, ServerSettings


class Crew:
    """See the module."""

    def __init__(self, books: Books, folder: Path) -> None:
        """Know nobody yet: `adopt` looks who is alive."""
        self.current: Server | None = None
        self.name = sha256(str(folder).encode()).hexdigest()[:16]
        self._books = books
        self._folder = folder
        self._socket: socket.socket | None = None
        self._servers: dict[int, Server] = {}
        (folder / "state").mkdir(parents=True, exist_ok=True)

    def adopt(self, on_exit: Callable[[], None]) -> list[Server]:
        """Take over what runs; return the servers that are too many."""
        running = self._books.running
        found = [server for server in map(adopt, running.servers) if server is not None]
        self._servers = {server.record.number: server for server in found}
        self._save(self._books.running)
        ready = [server for server in found if server.record.ready]
        for server in found:
            server.on_exit(on_exit)
        if ready:
            self.current = ready[-1]
        if found:
            taken = (take_back(s.record.pid, s.record.listen_fd, running.port) for s in found)
            self._socket = next((one for one in taken if one is not None), None)
            if self._socket is None:
                self._socket = bind_beside(running.port)
        return [server for server in found if server is not self.current]

    def socket_fd(self) -> int:
        """Return the shared listening socket, opened if there is none."""
        if self._socket is None:
            self._socket = open_listener(self._books.running.port)
            port = int(self._socket.getsockname()[1])
            self._save(msgspec.structs.replace(self._books.running, port=port))
        return self._socket.fileno()

    def close_socket(self) -> None:
        """Listen no more: new connections are refused."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def next_number(self) -> int:
        """Return the number of the next server."""
        number = self._books.running.last_number + 1
        self._save(msgspec.structs.replace(self._books.running, last_number=number))
        return number

    def reference_for(self, digest: Digest) -> Digest | None:
        """Return what served before `digest`, as the reference of its shadow."""
        running = self._books.running
        return running.previous if digest == running.stable else running.stable

    def start(self, settings: ServerSettings, digest: Digest) -> Server:
        """Start a server; it does not serve yet."""
        number = self._books.running.last_number
        server = start(settings, number, self.reference_for(digest), self._folder)
        self._servers[number] = server
        self._save(self._books.running)
        self._forget_logs(number)
        return server

    def promote(self, server: Server) -> None:
        """Make a ready server the one that serves."""
        server.mark_ready()
        self.current = server
        record = server.record
        changed = msgspec.structs.replace(
            self._books.running, stable=record.digest, previous=record.previous
        )
        self._save(changed)

    def retire(self) -> None:
        """Nothing serves from now on, and nothing shall be started again."""
        self.current = None
        self._save(msgspec.structs.replace(self._books.running, stable=None, previous=None))

    def dismiss(self, server: Server) -> None:
        """Forget a server that has ended."""
        self._servers.pop(server.record.number, None)
        if self.current is server:
            self.current = None
        self._save(self._books.running)

    async def end_all(self, seconds: float) -> None:
        """End every server, the polite way for so long."""
        servers = tuple(self._servers.values())
        await asyncio.gather(*(server.end(seconds) for server in servers))
        for server in servers:
            self.dismiss(server)
        self.close_socket()

    def _save(self, running: Running) -> None:
        records = tuple(server.record for _, server in sorted(self._servers.items()))
        self._books.write_running(msgspec.structs.replace(running, servers=records))

    def _forget_logs(self, number: int) -> None:
        for old in range(number - 3, 0, -1):
            log = log_file(self._folder, old)
            if not log.exists():
                break
            log.unlink()
            (self._folder / f"settings-{old}.json").unlink(missing_ok=True)
