"""What a test cluster leaves on a machine, and how it is taken away: also after a crash.

Every process, namespace, link and cgroup is written into the world's folder before it is made. A
small process of its own waits for the end of the test run, however it comes (the kernel closes its
standard input), and takes away whatever is still there. Processes are ended by their own pid, and
only if they still are the process that was started.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
_TICKS = os.sysconf("SC_CLK_TCK")


def run(*words: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; its words are shown when it fails."""
    done = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, check=False
    )
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(map(str, words))}: {done.returncode} {done.stderr.strip()}")
    return done


def wait_for(condition: Callable[[], object], what: str, deadline_s: float = 60) -> object:
    """Return the first true answer of `condition`."""
    until = time.monotonic() + deadline_s
    while not (answer := condition()):
        if time.monotonic() > until:
            raise TimeoutError(f"{what}: not within {deadline_s:g} s")
        time.sleep(0.05)
    return answer


@dataclass
class Program:
    """A process that was started."""

    name: str
    argv: Sequence[str]
    log: Path
    env: Mapping[str, str] | None = None
    popen: subprocess.Popen[bytes] = field(init=False)

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.popen = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(self.env) if self.env is not None else None,
                start_new_session=True,
            )

    @property
    def alive(self) -> bool:
        return self.popen.poll() is None

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait()

    def stop(self, patience_s: float = 10) -> None:
        self.popen.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.popen.wait(patience_s)
        if self.alive:
            self.kill()

    def rss_mb(self) -> float:
        status = Path(f"/proc/{self.popen.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def cpu_s(self) -> float:
        return cpu_s(self.popen.pid)


def cpu_s(pid: int) -> float:
    """Return the processor seconds of a process."""
    parts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(parts[11]) + int(parts[12])) / _TICKS


class Remains:
    """The list of what was made, in the world's folder."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True)
        self.root = root
        self._file = root / "remains.jsonl"
        self._file.touch()
        self._programs: list[Program] = []
        self._reaper = subprocess.Popen(
            [sys.executable, __file__, str(root)], stdin=subprocess.PIPE, start_new_session=True
        )

    def note(self, kind: str, name: str) -> None:
        with self._file.open("a") as file:
            file.write(json.dumps([kind, name]) + "\n")

    def undo(self, *command: str) -> None:
        """Have a command run when all is taken away, while every process is still there.

        Commands run in the opposite order of these calls.
        """
        self.note("undo", json.dumps(command))

    def start(
        self, name: str, argv: Sequence[object], log: Path, env: Mapping[str, str] | None = None
    ) -> Program:
        program = Program(name, [str(word) for word in argv], log, env)
        self._programs.append(program)
        self.restart(program)
        return program

    def restart(self, program: Program) -> None:
        """Start a program that ended again, with the same words."""
        program.start()
        self.note("pid", f"{program.popen.pid} {_born(program.popen.pid)}")

    def close(self) -> None:
        """Take everything away."""
        assert self._reaper.stdin is not None
        self._reaper.stdin.close()
        self._reaper.wait()
        for program in self._programs:
            program.popen.wait(10)


def _born(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return "gone"


def sweep(root: Path) -> None:
    """Take away what was made below `root`, and the folder itself."""
    try:
        lines = (root / "remains.jsonl").read_text().splitlines()
    except OSError:
        return
    made: dict[str, list[str]] = {}
    for kind, name in map(json.loads, reversed(lines)):
        made.setdefault(kind, []).append(name)
    for command in made.get("undo", ()):
        run(*json.loads(command), check=False)
    _end(made.get("pid", ()), made.get("cgroup", ()), root)
    for line in reversed(Path("/proc/mounts").read_text().splitlines()):
        if line.split()[1].startswith(f"{root}/"):
            run("umount", "--lazy", line.split()[1], check=False)
    for kind in ("netns", "route", "link"):
        for name in made.get(kind, ()):
            run("ip", kind, "del", *name.split(), check=False)
    for name in made.get("cgroup", ()):
        _remove_cgroups(name)
    shutil.rmtree(root, ignore_errors=True)


def _remove_cgroups(name: str) -> None:
    for top in CGROUPS.glob(f"*/{name}"):
        for folder, _, _ in os.walk(top, topdown=False):
            with suppress(OSError):
                Path(folder).rmdir()


def _end(pids: Sequence[str], cgroups: Sequence[str], root: Path) -> None:
    """End processes: those that were started, then shims and what runs in their containers."""
    ours = [int(pid) for pid, born in map(str.split, pids) if _born(int(pid)) == born]
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in ours:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        until = time.monotonic() + 8
        while (ours := [pid for pid in ours if _runs(pid)]) and time.monotonic() < until:
            time.sleep(0.05)
    for _ in range(100):
        left = [*_shims(root), *_contained(cgroups)]
        if not left:
            return
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _shims(root: Path) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (folder / "cmdline").read_bytes().decode(errors="replace")
            if "containerd-shim" in words.split("\0")[0] and str(root) in words:
                found.append(int(folder.name))
    return found


def _contained(cgroups: Sequence[str]) -> list[int]:
    found: set[int] = set()
    for name in cgroups:
        for procs in CGROUPS.glob(f"*/{name}/**/cgroup.procs"):
            with suppress(OSError):
                found.update(int(pid) for pid in procs.read_text().split())
    return [pid for pid in found if _runs(pid)]


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.stdin.buffer.read()
    sweep(Path(sys.argv[1]))
