"""Programs that live as long as a block, even if its process is killed with SIGKILL.

A small process of its own reads a pipe whose other end only the supervised process holds. When it
ends, however it ends, the kernel closes the pipe and the guard takes the home down. A death signal
(PR_SET_PDEATHSIG) would reach direct children only, and it is bound to the thread that started
them.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from edgefleet.adapters.servers.home import down, up
from edgefleet.adapters.servers.program import Endpoints, Program

_WORD: Final = b"all down\n"


@contextmanager
def supervised(home: Path, programs: Sequence[Program] | None = None) -> Iterator[Endpoints]:
    """Bring a home up, and down again however the block or its process ends.

    Raises:
        Refused: as `up`.
        Unreachable: as `up`.
    """
    command = (sys.executable, "-m", __package__, str(home.resolve()))
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as guard:
        assert guard.stdin is not None  # noqa: S101 - it was asked for above
        try:
            yield up(home, programs)
        finally:
            # A second Ctrl-C in here leaves the word unsaid: the guard then finishes the work.
            down(home)
            guard.stdin.write(_WORD)
            guard.stdin.flush()


def watch(home: Path) -> None:
    """Take a home down when standard input is closed without a word."""
    if sys.stdin.buffer.read() != _WORD:
        down(home)
