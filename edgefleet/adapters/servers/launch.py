"""Starts one program apart from its starter: own session, own log, default signals, no parent.

Run as a script with the order as JSON on stdin; prints the program's process id. A shell that runs
a command in the background leaves SIGINT ignored, and Prefect's worker stops itself by SIGINT: so
the dispositions are reset here. Without a parent of ours there is nobody who must reap it.
"""

from __future__ import annotations

import json
import os
import signal
import sys


def launch() -> None:
    """Fork, detach, and become the program."""
    order = json.load(sys.stdin)
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        sys.stdout.write(os.read(reader, 64).decode())
        return
    os.setsid()
    os.write(writer, str(os.getpid()).encode())
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    try:
        os.chdir(order["cwd"])
        os.execvpe(order["argv"][0], order["argv"], order["env"])  # noqa: S606 - no shell is wanted
    except OSError as error:
        os.write(2, f"{order['argv'][0]}: cannot be started: {error}\n".encode())
        os._exit(127)


if __name__ == "__main__":
    launch()
