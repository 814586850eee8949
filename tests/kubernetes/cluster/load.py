"""A client that never retries: so many requests a second, each answer with when and by whom.

Run as a program it writes them into a file: that is how one asks inside a node's own network, where
it is cut off together with the node.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self, TextIO

from tests.kubernetes.cluster.network import Cable
from tests.kubernetes.cluster.remains import Remains, wait_for

_ROOT = Path(__file__).parents[3]
_WRITE_S = 0.2
_DEBT_S = 5.0


@dataclass(frozen=True)
class Answer:
    """One request's end; an empty digest: it failed, and `problem` says how."""

    at: float
    digest: str
    problem: str = ""


def failed(answers: Sequence[Answer]) -> list[Answer]:
    return [answer for answer in answers if not answer.digest]


@dataclass
class Load:
    """Runs in a thread of its own while the block lasts, on connections that are kept alive."""

    host: str
    port: int
    path: str
    body: bytes
    rate_hz: float = 50.0
    answers: list[Answer] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def failed(self) -> list[Answer]:
        return failed(self.answers)

    def served_by(self, digest: str) -> int:
        return sum(answer.digest == digest for answer in self.answers)

    def near(self, moment: float, seconds: float = 2.0) -> int:
        """Return how many requests ended within so many seconds of a moment."""
        return sum(abs(answer.at - moment) <= seconds for answer in self.answers)

    def _run(self) -> None:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=10)
        due = time.monotonic()
        while not self._ended.wait(max(0.0, due - time.monotonic())):
            # What a busy machine kept it from asking is made up for, but for a longer stall.
            due = max(due + 1 / self.rate_hz, time.monotonic() - _DEBT_S)
            self.answers.append(self._ask(connection))
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection) -> Answer:
        kind = {"content-type": "application/octet-stream"}
        try:
            connection.request("POST", self.path, self.body, kind)
            answer = connection.getresponse()
            said = answer.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            return Answer(time.time(), "", f"{type(error).__name__}: {error}")
        if answer.status != http.client.OK:
            return Answer(time.time(), "", f"{answer.status}: {said[:200]!r}")
        return Answer(time.time(), answer.headers.get("x-edge-digest", ""))


@dataclass
class Inside:
    """The same client as a process in a node's namespace, from now until its `end`."""

    remains: Remains
    cable: Cable
    file: Path
    host: str
    port: int
    path: str
    body: bytes
    rate_hz: float = 50.0

    def __post_init__(self) -> None:
        words = (self.host, self.port, self.path, self.body.hex(), self.rate_hz, self.file)
        program = [sys.executable, "-m", "tests.kubernetes.cluster.load", *words]
        log = self.file.with_suffix(".log")
        env = {**os.environ, "PYTHONPATH": str(_ROOT)}
        self._program = self.remains.start("client", [*self.cable.inside, *program], log, env)
        wait_for(self.answers, f"the first answer within {self.cable.namespace}", 30)

    def answers(self, since: float = 0.0) -> list[Answer]:
        """Return the answers so far, those after a moment."""
        if not self.file.exists():
            return []
        *whole, _begun = self.file.read_text().split("\n")
        return [a for a in (Answer(**json.loads(line)) for line in whole) if a.at >= since]

    def end(self) -> None:
        self._program.stop()


def main(host: str, port: str, path: str, body: str, rate_hz: str, file: str) -> None:
    """Ask until told to end, and write what came."""
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    with Path(file).open("w") as out:
        with Load(host, int(port), path, bytes.fromhex(body), float(rate_hz)) as load:
            written = 0
            while not ended.wait(_WRITE_S):
                written = _write(load.answers, written, out)
        _write(load.answers, written, out)


def _write(answers: Sequence[Answer], written: int, out: TextIO) -> int:
    upto = len(answers)
    out.writelines(json.dumps(asdict(answer)) + "\n" for answer in answers[written:upto])
    out.flush()
    return upto


if __name__ == "__main__":
    main(*sys.argv[1:])
