"""Brings the programs of a home up and down; either may be called at any time, by anybody.

A lock file lets one caller at a time change a home. `up` leaves alone what runs and answers,
replaces what is described otherwise now or does not answer, and ends what it has started itself
when one of the programs does not come up.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import ssl
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import httpx

from edgefleet.adapters.servers import kernel, launch
from edgefleet.adapters.servers.embedded import embedded
from edgefleet.adapters.servers.program import Endpoints, Program, fill
from edgefleet.adapters.servers.record import Record, read_records, write_json
from edgefleet.errors import Refused, Unreachable

_POLL_S: Final = 0.1
_PROBE_S: Final = 5.0
_LOG_TAIL: Final = 15
_NO_AUTHORITIES: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Trusts nobody: probes are plain HTTP, and loading the usual authorities for each takes 0.1 s."""


def up(home: Path, programs: Sequence[Program] | None = None) -> Endpoints:
    """Start what does not run (None: the embedded servers) and return all addresses.

    Raises:
        Refused: a program names one to start `after` that is not among them.
        Unreachable: a program ended or did not become ready in its time; its log's end is shown.
    """
    chosen = embedded(home) if programs is None else tuple(programs)
    names = {program.name for program in chosen}
    for program in chosen:
        if missing := set(program.after) - names:
            problem = f"starts after {', '.join(sorted(missing))}, not among {sorted(names)}"
            raise Refused(program.name, problem, "Name both programs in one call")
    home.mkdir(parents=True, exist_ok=True)
    with _locked(home):
        _start_missing(home, chosen)
        everything = read_records(_run(home)).values()
        known_urls = {k: v for record in everything for k, v in record.endpoints.items()}
        write_json(home / "endpoints.json", known_urls)
        return Endpoints(known_urls)


def down(home: Path) -> tuple[str, ...]:
    """End every program of a home and all that descend from them; return the names, last first.

    Also cleans up after a crash: a record whose process has ended costs nothing, and its orphans
    are found by their mark.
    """
    if not home.is_dir():
        return ()
    with _locked(home):
        (home / "endpoints.json").unlink(missing_ok=True)
        records = tuple(reversed(read_records(_run(home)).values()))
        for record in records:
            _end(home, record)
        return tuple(record.name for record in records)


def running(home: Path) -> Mapping[str, int]:
    """Return name and process id of every program of a home that runs."""
    records = read_records(_run(home)).values()
    return {record.name: record.pid for record in records if record.leader is not None}


def _start_missing(home: Path, programs: Sequence[Program]) -> None:
    """Start whatever does not serve, each once its predecessors are ready, until all are."""
    ready: dict[str, Record] = {}
    deadlines: dict[str, float] = {}
    try:
        while missing := [program for program in programs if program.name not in ready]:
            for program in missing:
                name = program.name
                if name in deadlines:
                    if (seen := _became_ready(home, program, deadlines[name])) is not None:
                        ready[name] = seen
                elif all(before in ready for before in program.after):
                    if (kept := _left_alone(home, program)) is not None:
                        ready[name] = kept
                        continue
                    deadlines[name] = time.monotonic() + program.start_s
                    _start(home, program, ready)
            time.sleep(_POLL_S)
    except BaseException:
        started = read_records(_run(home))
        for name in reversed(deadlines):
            if name in started:
                _end(home, started[name])
        raise


def _left_alone(home: Path, program: Program) -> Record | None:
    """Return the record of a program that runs as it is described and answers; None: it does not.

    Asked once its predecessors are ready: without them it may answer nobody, and be well.
    """
    known = read_records(_run(home)).get(program.name)
    if known is None or known.fingerprint != program.fingerprint:
        return None
    return known if _answers(known, program) else None


def _start(home: Path, program: Program, ready: Mapping[str, Record]) -> None:
    """Start one program, in place of whatever ran under its name."""
    old = read_records(_run(home)).get(program.name)
    if old is not None:
        old.end()
    if program.ready_file is not None:
        program.ready_file.unlink(missing_ok=True)
    port = _free_port(old.port if old is not None else 0)
    values = {name: url for record in ready.values() for name, url in record.endpoints.items()}
    values["port"] = str(port)
    mark = f"{program.name}-{uuid.uuid4().hex}"
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_"))}
    filled = {name: fill(value, values) for name, value in program.env.items()}
    logs = home / "logs"
    logs.mkdir(exist_ok=True)
    order = {
        "argv": [fill(part, values) for part in program.argv],
        "cwd": str(program.cwd),
        "env": {**inherited, **filled, kernel.MARK: mark},
        "log": str((logs / f"{program.name}.log").resolve()),
    }
    record = Record(
        name=program.name,
        pid=0,
        started=0,
        boot=kernel.boot_id(),
        mark=mark,
        fingerprint=program.fingerprint,
        port=port,
        ready_urls=tuple(fill(url, values) for url in program.ready_urls),
        endpoints={name: fill(url, values) for name, url in program.endpoints.items()},
        stop_s=program.stop_s,
    )
    # Before the start: killed in between, we leave a process that can be found by its mark.
    record.write(_run(home))
    command = (sys.executable, "-I", "-S", launch.__file__)
    told = subprocess.run(
        command,
        input=json.dumps(order).encode(),
        env={**os.environ, kernel.MARK: mark},
        stdout=subprocess.PIPE,
        check=True,
    )
    leader = kernel.find(int(told.stdout)) or kernel.Proc(int(told.stdout), 0)
    replace(record, pid=leader.pid, started=leader.started).write(_run(home))


def _became_ready(home: Path, program: Program, deadline: float) -> Record | None:
    """Return the record, with what the program told of itself; None: not yet."""
    record = read_records(_run(home))[program.name]
    if record.leader is None:
        raise _not_up(home, program.name, "ended before it was ready")
    if time.monotonic() > deadline:
        raise _not_up(home, program.name, f"not ready after {program.start_s:.0f} s")
    if program.ready_file is not None:
        if not program.ready_file.exists():
            return None
        content = json.loads(program.ready_file.read_text(encoding="utf-8"))
        told = {str(key): text for key, text in content.items() if isinstance(text, str)}
        record = replace(record, endpoints={**record.endpoints, **told})
        record.write(_run(home))
    return record if _answers(record, program) else None


def _end(home: Path, record: Record) -> None:
    record.end()
    (_run(home) / f"{record.name}.json").unlink(missing_ok=True)


def _answers(record: Record, program: Program) -> bool:
    """Say whether the recorded process runs and, where it has addresses to ask, answers there."""
    if record.leader is None:
        return False
    user, _, password = program.ready_auth.partition(":")
    auth = (user, password) if user else None
    try:
        # Never through a proxy that the environment names: it is on this machine.
        with httpx.Client(trust_env=False, timeout=_PROBE_S, verify=_NO_AUTHORITIES) as client:
            answers = (client.get(url, auth=auth) for url in record.ready_urls)
            return all(answer.status_code == httpx.codes.OK for answer in answers)
    except httpx.TransportError:
        return False


def _not_up(home: Path, name: str, problem: str) -> Unreachable:
    log = home / "logs" / f"{name}.log"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    tail = "\n  ".join(lines[-_LOG_TAIL:])
    return Unreachable(f"program {name}: {problem}; the end of {log}:\n  {tail}")


def _free_port(wish: int) -> int:
    """Return the port of the last time if it is free, so that links stay; else the kernel's."""
    for port in (wish, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise Unreachable("127.0.0.1: the kernel has no free port")


def _run(home: Path) -> Path:
    return home / "run"


@contextmanager
def _locked(home: Path) -> Iterator[None]:
    with (home / "lock").open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
