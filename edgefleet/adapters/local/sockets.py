"""A node's listening socket: one for all its servers, old and new, so no connection finds it shut.

The supervisor makes it and every server inherits it. After a supervisor was killed, the next one
takes the very same socket back out of a living server with `pidfd_getfd`. Where the kernel forbids
that (Yama's ptrace_scope for a user who is not root), it binds a second socket to the same port
with SO_REUSEPORT: then connections that wait in the old socket's queue at the moment of the next
cut-over can be reset, once.
"""

from __future__ import annotations

import ctypes
import os
import socket
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Final

_PIDFD_GETFD: Final = 438  # the same number on every architecture
_BACKLOG: Final = 512
_LONGEST_UNIX_PATH: Final = 100  # the kernel's limit is 108 bytes


def open_listener(port: int) -> socket.socket:
    """Return a listening socket on `port` of the loopback; another port if it is taken or 0."""
    for wanted in (port, 0):
        fresh = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        fresh.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        fresh.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            fresh.bind(("127.0.0.1", wanted))
        except OSError:
            fresh.close()
            if wanted == 0:
                raise
            continue
        fresh.listen(_BACKLOG)
        return fresh
    message = f"port {port}: neither it nor any other could be bound"
    raise OSError(message)


def bind_beside(port: int) -> socket.socket:
    """Return a socket on a port that a living server listens on, not listening yet itself.

    It starts to listen in the next server, else connections would wait here for nobody.
    """
    fresh = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    fresh.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    fresh.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    fresh.bind(("127.0.0.1", port))
    return fresh


def take_back(pid: int, fd: int, port: int) -> socket.socket | None:
    """Return the listening socket that process `pid` holds as `fd`, None if it cannot be had."""
    try:
        process = os.pidfd_open(pid)
    except OSError:
        return None
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        taken = int(libc.syscall(_PIDFD_GETFD, process, fd, 0))
    finally:
        os.close(process)
    if taken < 0:
        return None
    try:
        found = socket.socket(fileno=taken)
    except OSError:
        os.close(taken)
        return None
    # The server may have closed it and opened something else under that number.
    if found.family == socket.AF_INET and found.getsockname()[1] == port:
        return found
    found.close()
    return None


def socket_folder(root: Path) -> Path:
    """Return a folder whose unix socket paths are short enough for the kernel."""
    folder = root / "run"
    if len(str(folder / "0123456789abcdef-999999.sock")) > _LONGEST_UNIX_PATH:
        name = f"edgefleet-{os.getuid()}-{sha256(str(root).encode()).hexdigest()[:8]}"
        folder = Path(tempfile.gettempdir()) / name
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder
