"""`python -m edgefleet.edge SETTINGS.json`: one inference server."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path

import msgspec
import uvloop

from edgefleet.edge.connections import private_listener
from edgefleet.edge.contract import ServerSettings
from edgefleet.edge.server import serve


def main(arguments: list[str]) -> int:
    """Run a server; return the exit code."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m edgefleet.edge SETTINGS.json\n")
        return 2
    try:
        settings = msgspec.json.decode(Path(arguments[0]).read_bytes(), type=ServerSettings)
    except (OSError, msgspec.DecodeError) as error:
        sys.stderr.write(f"{arguments[0]}: {error}. Write a ServerSettings there\n")
        return 2
    logging.basicConfig(
        level=settings.log_level.upper(),
        format=f"%(asctime)s {settings.node} {settings.workload} %(levelname)s %(message)s",
    )
    private = Path(settings.private_socket)
    with (
        private_listener(private) as listener,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        loaded = runner.run(serve(settings, listener))
    private.unlink(missing_ok=True)
    if not loaded:
        # Told to end while a model was loading in a thread, which nothing can interrupt.
        os._exit(0)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
