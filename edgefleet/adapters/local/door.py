"""A node's address towards the centre: a relay to the port that its cameras use, inside.

While the node's link is cut nothing goes through: whoever knocks is turned away, and who is in the
middle of a talk is cut off. Cameras do not come through here, so they notice nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from edgefleet.adapters.local.disk import read_whole, write_whole
from edgefleet.adapters.local.sockets import open_listener

_CHUNK: Final = 64 * 1024


class _Address(msgspec.Struct, frozen=True):
    """Where the door was last time."""

    port: int = 0


class Door:
    """See the module."""

    def __init__(self, folder: Path, inside: Callable[[], int], cut: Callable[[], bool]) -> None:
        """`inside` is the port behind it, 0 if there is none; `cut` says whether it is shut."""
        self._file = folder / "door.json"
        self._inside = inside
        self._cut = cut
        self._port = 0
        self._server: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where the centre finds the node."""
        return f"http://127.0.0.1:{self._port}"

    async def open(self) -> None:
        """Listen where the last one did, if that is free."""
        listener = open_listener(read_whole(self._file, _Address, _Address()).port)
        self._port = int(listener.getsockname()[1])
        write_whole(self._file, _Address(self._port))
        self._server = await asyncio.start_server(self._knock, sock=listener)

    async def close(self) -> None:
        """Listen no more, and end every talk."""
        if self._server is not None:
            self._server.close()
        self.shut()
        await asyncio.gather(*self._talks, return_exceptions=True)

    def shut(self) -> None:
        """Cut off who is in the middle of a talk."""
        for talk in self._talks:
            talk.cancel()

    def _knock(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = asyncio.create_task(self._talk(reader, writer))
        self._talks.add(talk)
        talk.add_done_callback(self._talks.discard)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry bytes both ways until either side ends, or the link is cut."""
        inner: asyncio.StreamWriter | None = None
        try:
            with suppress(OSError):
                if self._cut():
                    return
                behind, inner = await asyncio.open_connection("127.0.0.1", self._inside())
                ways = {
                    asyncio.create_task(self._carry(reader, inner)),
                    asyncio.create_task(self._carry(behind, writer)),
                }
                try:
                    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for way in ways:
                        way.cancel()
                    await asyncio.gather(*ways, return_exceptions=True)
        finally:
            for end in (writer, inner):
                if end is not None:
                    self._end(end)

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while (chunk := await source.read(_CHUNK)) and not self._cut():
            target.write(chunk)
            await target.drain()

    def _end(self, end: asyncio.StreamWriter) -> None:
        """Close a connection: what was carried still arrives, unless the link is cut."""
        if self._cut():
            end.transport.abort()
        else:
            end.close()
