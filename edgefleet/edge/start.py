"""Starting a server process: its settings, its log, its doors and its loop."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from pathlib import Path

import msgspec
import uvloop

from edgefleet.edge.connections import private_listener
from edgefleet.edge.contract import ServerSettings
from edgefleet.edge.server import serve


def start(argument: str) -> int:
    """Run a server with the settings in a file, or in the argument itself; return the exit code."""
    inline = argument.startswith("{")
    name = "the settings in the argument" if inline else argument
    try:
        content = argument.encode() if inline else Path(argument).read_bytes()
        settings = msgspec.json.decode(content, type=ServerSettings)
    except (OSError, msgspec.DecodeError) as error:
        sys.stderr.write(f"{name}: {error}. Write a ServerSettings there\n")
        return 2
    if settings.private_socket is None and settings.status_port is None:
        sys.stderr.write(
            f"{name}: neither private_socket nor status_port: nobody could ask how it is."
            " State one of them\n"
        )
        return 2
    logging.basicConfig(
        level=settings.log_level.upper(),
        format=f"%(asctime)s {settings.node} {settings.workload} %(levelname)s %(message)s",
    )
    try:
        private, status = _listeners(settings)
    except OSError as error:
        sys.stderr.write(f"{name}: {error}. Give the server an address that is free\n")
        return 2
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        loaded = runner.run(serve(settings, private, status))
    if settings.private_socket is not None:
        Path(settings.private_socket).unlink(missing_ok=True)
    if not loaded:
        # Told to end while a model was loading in a thread, which nothing can interrupt.
        os._exit(0)
    return 0


def _listeners(settings: ServerSettings) -> tuple[socket.socket | None, socket.socket | None]:
    """Return the sockets of the private and of the status door; None: no such door."""
    private = status = None
    if settings.private_socket is not None:
        private = private_listener(Path(settings.private_socket))
    if settings.status_port is not None:
        status = socket.create_server((settings.status_host, settings.status_port))
    return private, status
