"""Processes as the kernel shows them: who runs, who descends from whom, and how they are ended.

A process is known by id and start time, so that an id that was given again is never hit. Families
are found by a mark in the environment, which children inherit: a session would not do, since
Prefect's worker gives every flow run a session of its own. Children that were started with a bare
environment are found while their parent lives.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MARK: Final = "EDGEFLEET_FAMILY"
_POLL_S: Final = 0.05
_KILLED_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Proc:
    """One process, never its successor under the same id."""

    pid: int
    started: int
    """Clock ticks after boot."""

    @property
    def alive(self) -> bool:
        """Whether it still runs; a zombie does not."""
        seen = _stat(self.pid)
        return seen is not None and seen[1] == self.started

    def send(self, number: signal.Signals) -> None:
        """Signal it, if it still runs."""
        if self.alive:
            with suppress(ProcessLookupError):  # It ended in between, which is what was wanted.
                os.kill(self.pid, number)


def boot_id() -> str:
    """Return what identifies this boot: start times count from it."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def find(pid: int) -> Proc | None:
    """Return the process that has the id now, None if there is none."""
    seen = _stat(pid)
    return None if seen is None else Proc(pid, seen[1])


def family(mark: str) -> frozenset[Proc]:
    """Return every live process that carries the mark, and all their descendants."""
    parents: dict[int, list[int]] = {}
    procs: dict[int, Proc] = {}
    for pid in (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()):
        seen = _stat(pid)
        if seen is not None:
            procs[pid] = Proc(pid, seen[1])
            parents.setdefault(seen[0], []).append(pid)
    needle = f"{MARK}={mark}".encode()
    open_ends = [pid for pid in procs if needle in _environ(pid)]
    members: set[int] = set()
    while open_ends:
        pid = open_ends.pop()
        if pid not in members and pid != os.getpid():
            members.add(pid)
            open_ends += parents.get(pid, [])
    return frozenset(procs[pid] for pid in members)


def end(leader: Proc | None, mark: str, stop_s: float) -> None:
    """End a family: SIGTERM to its leader, then to all who are left, then SIGKILL.

    Returns when nobody is left; TimeoutError if the kernel keeps one after SIGKILL.
    """
    members = set(family(mark))
    if leader is not None and leader.alive:
        leader.send(signal.SIGTERM)
        members.add(leader)
        if _gone(members, mark, stop_s):
            return
    for number, patience_s in ((signal.SIGTERM, min(2.0, stop_s)), (signal.SIGKILL, _KILLED_S)):
        for member in members:
            member.send(number)
        if _gone(members, mark, patience_s):
            return
    left = ", ".join(str(member.pid) for member in members if member.alive)
    message = f"processes {left} still run {_KILLED_S:.0f} s after SIGKILL: look at their state"
    raise TimeoutError(message)


def _gone(members: set[Proc], mark: str, patience_s: float) -> bool:
    """Wait until all members have ended; `members` grows by those that were born meanwhile."""
    deadline = time.monotonic() + patience_s
    while True:
        if not _any_alive(members):
            members |= family(mark)
            if not _any_alive(members):
                return True
        if time.monotonic() > deadline:
            members |= family(mark)
            return False
        time.sleep(_POLL_S)


def _any_alive(members: Iterable[Proc]) -> bool:
    return any(member.alive for member in members)


def _stat(pid: int) -> tuple[int, int] | None:
    """Return parent and start time, None for no process or a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name, in brackets, may hold spaces and brackets: count from the last one.
    state, parent, *rest = text[text.rindex(")") + 2 :].split()
    return None if state in "ZX" else (int(parent), int(rest[17]))


def _environ(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []
