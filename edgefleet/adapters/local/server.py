"""One edge-server process as its supervisor sees it: started or adopted, asked, ended.

A server is a session of its own and outlives the supervisor. Its end is noticed through a pidfd,
whoever its parent is, so nothing is polled while nothing happens.
"""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import httpx
import msgspec

from edgefleet.edge.contract import Digest, ServerSettings, Summary

_ASK_S: Final = 1.0
_KILL_AFTER_S: Final = 5.0
_NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Shared, never used: httpx would load all certificates of the system for every server."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What the disk must hold for a server to be found again."""

    number: int
    pid: int
    born: int
    """The process's start in clock ticks since boot: a pid alone may be somebody else's by now."""
    digest: Digest
    previous: Digest | None
    private_socket: str
    listen_fd: int
    ready: bool = False


class Server:
    """A living, or just ended, server."""

    def __init__(self, record: Record, process: subprocess.Popen[bytes] | None) -> None:
        """Watch a process; `process` is None for an adopted one, which is not our child."""
        self.record = record
        self.exited = asyncio.Event()
        self.since = time.monotonic()
        """When it was started, or became ready."""
        self._process = process
        self._pidfd = os.pidfd_open(record.pid)
        self._on_exit: Callable[[], None] = lambda: None
        self._seen: tuple[float, Summary | None] = (-1.0, None)
        self._asking = asyncio.Lock()
        asyncio.get_running_loop().add_reader(self._pidfd, self._ended)
        # A connection per question: an idle one would only be in the way of a drain.
        self._client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(
                uds=record.private_socket,
                verify=_NO_TLS,
                limits=httpx.Limits(max_keepalive_connections=0),
            ),
            base_url="http://node",
            timeout=_ASK_S,
            trust_env=False,
        )

    def on_exit(self, call: Callable[[], None]) -> None:
        """Have `call` called when the process ends."""
        self._on_exit = call

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return not self.exited.is_set()

    def mark_ready(self) -> None:
        """Remember that it has become ready."""
        self.record = msgspec.structs.replace(self.record, ready=True)
        self.since = time.monotonic()

    async def summary(self, at_most_s: float = 0.0) -> Summary | None:
        """Return what the server says of itself, at most so old; None: it does not answer."""
        async with self._asking:
            asked, seen = self._seen
            if time.monotonic() - asked < at_most_s and self.alive:
                return seen
            try:
                answer = await self._client.get("/metrics/summary")
                seen = msgspec.json.decode(answer.content, type=Summary)
            except (httpx.HTTPError, msgspec.MsgspecError):
                seen = None
            self._seen = (time.monotonic(), seen)
            return seen

    async def drain(self, seconds: float) -> None:
        """Ask it to answer what it has accepted and end; kill it if it does not in time."""
        try:
            await self._client.post("/drain")
        except httpx.HTTPError:
            self.signal(signal.SIGTERM)
        await self._gone(seconds + _KILL_AFTER_S)

    async def end(self, seconds: float) -> None:
        """End it, the polite way for so long."""
        self.signal(signal.SIGTERM)
        await self._gone(seconds)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens if it has ended."""
        if self.alive:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    async def close(self) -> None:
        """Stop watching; the process is left as it is."""
        self._forget()
        await self._client.aclose()

    async def _gone(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self.exited.wait(), seconds)
        except TimeoutError:
            self.signal(signal.SIGKILL)
            await self.exited.wait()
        await self._client.aclose()
        self._tidy()

    def _tidy(self) -> None:
        Path(self.record.private_socket).unlink(missing_ok=True)

    def _ended(self) -> None:
        self._forget()
        if self._process is not None:
            self._process.wait()
        self.exited.set()
        self._on_exit()

    def _forget(self) -> None:
        if self._pidfd >= 0:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1


def start(settings: ServerSettings, number: int, previous: Digest | None, folder: Path) -> Server:
    """Start a server with its settings and log in `folder`; it inherits its listening socket."""
    file = folder / f"settings-{number}.json"
    file.write_bytes(msgspec.json.encode(settings))
    if settings.listen_fd is None or settings.private_socket is None:
        message = f"{settings.node}: a server of the local fleet has two sockets of its node"
        raise ValueError(message)
    with log_file(folder, number).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "edgefleet.edge", str(file)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(settings.listen_fd,),
            start_new_session=True,
        )
    record = Record(
        number=number,
        pid=process.pid,
        born=_born(process.pid),
        digest=settings.digest,
        previous=previous,
        private_socket=settings.private_socket,
        listen_fd=settings.listen_fd,
    )
    return Server(record, process)


def adopt(record: Record) -> Server | None:
    """Return the server of a record, None if that process has ended."""
    if _born(record.pid) != record.born:
        return None
    try:
        return Server(record, None)
    except ProcessLookupError:
        return None


def last_words(folder: Path, number: int) -> str:
    """Return the last line that a server wrote, for a message."""
    try:
        lines = log_file(folder, number).read_text(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip()[:500] for line in reversed(lines) if line.strip()), "")


def log_file(folder: Path, number: int) -> Path:
    """Return where a server writes."""
    return folder / f"server-{number}.log"


def _born(pid: int) -> int:
    """Return field 22 of /proc/PID/stat, -1 if there is no such process or it is a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return -1
    fields = text.rpartition(")")[2].split()
    return -1 if fields[0] in {"Z", "X"} else int(fields[19])
