"""The edge servers of all hollow pods, in one process: a door that tells them apart by address.

The kernel delivers every address of the fleet's range to this machine, and each connection knows
which one it was made to. A node that is switched off does not answer: its connections break.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast
from urllib.parse import parse_qs

import httptools
import msgspec
import uvloop

from tests.kubernetes.cluster.hollow_pods import Order, Pods

LOOK_S = 0.25
"""How late a change is noticed."""
_ANYWHERE = "0.0.0.0"  # noqa: S104 - the addresses of pods that are still to come


class Door(asyncio.Protocol):
    """One connection."""

    def __init__(self, answer: Callable[[str, bytes], bytes | None]) -> None:
        self._answer = answer
        self._parser = httptools.HttpRequestParser(self)
        self._path = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        self._address: str = transport.get_extra_info("sockname")[0]

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.abort()

    def on_message_begin(self) -> None:
        self._path = b""

    def on_url(self, path: bytes) -> None:
        self._path += path

    def on_message_complete(self) -> None:
        content = self._answer(self._address, self._path)
        if content is None:
            self._transport.abort()
            return
        status = b"200 OK" if content else b"404 Not Found"
        head = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        self._transport.write(head % (status, len(content)) + content)
        if not self._parser.should_keep_alive():
            self._transport.close()


def answers(pods: Pods) -> Callable[[str, bytes], bytes | None]:
    """Return what says the answer at an address to a path: None: no answer, empty: no such path."""
    encode = msgspec.json.Encoder().encode

    def answer(address: str, path: bytes) -> bytes | None:
        where, _, query = path.decode("ascii", "replace").partition("?")
        if where == "/metrics/summary":
            said = pods.summary(address)
            return encode(said) if said else None
        if where == "/metrics/windows":
            after = parse_qs(query).get("after", ["-1"])[0]
            windows = pods.windows(address, int(after))
            return encode(windows) if windows else None
        return b""

    return answer


async def serve(order: Order) -> None:
    pods = Pods(order)
    await asyncio.to_thread(pods.look)
    say = answers(pods)
    server = await asyncio.get_running_loop().create_server(
        lambda: Door(say), _ANYWHERE, 0, backlog=1024
    )
    told = Path(order.port_file)
    unfinished = told.with_suffix(".new")
    unfinished.write_text(str(server.sockets[0].getsockname()[1]))
    unfinished.rename(told)
    while True:
        await asyncio.sleep(LOOK_S)
        pods.look()


if __name__ == "__main__":
    uvloop.run(serve(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Order)))
