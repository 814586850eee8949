"""From start to end: nothing serves unchecked, and nobody notices a change of process."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from edgefleet.edge.contract import DIGEST_HEADER, MODEL_FILE, Digest
from tests.edge.conftest import Shelf
from tests.edge.tiny import DARK, Running, ask, server, tiny_package, wait_for

RAW = "/v2/models/tiny/raw"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=512) as made:
        yield made


def settled(running: Running) -> dict[str, Any]:
    """Wait for the verdict on a package that must not serve."""

    def reason() -> str:
        try:
            return str(running.private("GET", "/health").json.get("reason", ""))
        except OSError:
            return ""

    wait_for(lambda: reason() not in ("", "the package is being loaded"), "a verdict")
    return dict(running.private("GET", "/metrics/summary").json)


def minds_sigterm(process: subprocess.Popen[bytes]) -> bool:
    """Say whether a SIGTERM would wait, or be handled: the kernel neither drops it nor kills by it.

    A container's first process loses what it does not mind.
    """
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    masks = [int(line.split()[1], 16) for line in lines if line.startswith(("SigBlk", "SigCgt"))]
    return any(mask >> (signal.SIGTERM - 1) & 1 for mask in masks)


def refuses_connections(listener: socket.socket) -> bool:
    """Say whether a connection stays unanswered: nobody accepts."""
    with socket.create_connection(listener.getsockname(), timeout=0.3) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nHost: n\r\n\r\n")
        try:
            return client.recv(1) == b""
        except TimeoutError:
            return True


def test_a_package_with_a_changed_byte_never_serves_and_says_why(
    tmp_path: Path, listener: socket.socket
) -> None:
    digest = tiny_package(tmp_path / "package", tmp_path / "keys")
    with (tmp_path / "package" / MODEL_FILE).open("ab") as model:
        model.write(b"\0")
    with server(tmp_path / "s", tmp_path / "package", digest, pass_fd=listener.fileno()) as running:
        said = settled(running)
        assert not said["ready"]
        assert "model.onnx: signed was sha256:" in said["self_check"]["reason"]
        assert running.private("GET", "/health").status == 503
        assert running.private("GET", "/health/live").status == 200
        assert refuses_connections(listener)
        assert running.drain() == 0


def test_a_failed_self_check_never_serves_and_shows_the_difference(
    tmp_path: Path, listener: socket.socket
) -> None:
    digest = tiny_package(tmp_path / "package", tmp_path / "keys", golden_shift=0.25)
    with server(tmp_path / "s", tmp_path / "package", digest, pass_fd=listener.fileno()) as running:
        check = settled(running)["self_check"]
        assert (check["passed"], check["agreed"], check["total"]) == (False, 0, 20)
        assert "0 of 20 answers agree, largest difference 0.25" in check["reason"]
        assert refuses_connections(listener)


def test_a_broken_shadow_package_does_not_keep_a_node_from_serving(
    shelf: Shelf, tmp_path: Path
) -> None:
    broken = {"shadow_dir": str(tmp_path / "nowhere"), "shadow_digest": shelf.new}
    with shelf.server(tmp_path / "s", **broken) as running:
        running.wait_ready()
        assert running.raw().status == 200
        assert "no shadow" in running.log.read_text()


@pytest.mark.parametrize("content", [None, "{}", '{"digest": 1}'])
def test_settings_that_cannot_be_read_are_an_error_in_words(
    tmp_path: Path, content: str | None
) -> None:
    path = tmp_path / "settings.json"
    if content is not None:
        path.write_text(content)
    ended = subprocess.run(
        [sys.executable, "-m", "edgefleet.edge", str(path)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 2
    assert "settings.json" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_sigterm_while_loading_or_serving_ends_it_with_success(
    shelf: Shelf, tmp_path: Path
) -> None:
    for early in (True, False):
        with shelf.server(tmp_path / str(early)) as running:
            if early:
                wait_for(lambda: minds_sigterm(running.process), "SIGTERM is not lost on it")
            else:
                running.wait_ready()
            running.process.send_signal(signal.SIGTERM)
            assert running.process.wait(20) == 0
            assert not Path(running.settings.private_socket).exists()


def test_an_idle_connection_may_still_send_while_its_server_drains(
    shelf: Shelf, tmp_path: Path
) -> None:
    with shelf.server(tmp_path / "s", drain_s=10.0) as running:
        running.wait_ready()
        talking, silent = running.open(), running.open()
        for connection in (talking, silent):
            assert ask(connection, "GET", "/health").status == 200
        start = time.monotonic()
        running.private("POST", "/drain")
        wait_for(lambda: running.private("GET", "/health").status == 503, "draining")
        reply = ask(talking, "POST", RAW, DARK)
        assert reply.status == 200
        assert reply.headers["connection"] == "close"
        assert running.process.wait(30) == 0
        # The silent one was left alone for half of the drain time, then closed.
        assert 5.0 <= time.monotonic() - start < 10.0


@dataclass
class Client:
    """A camera: one keep-alive connection, opened again only after `Connection: close`."""

    address: tuple[str, int]
    pause_s: float
    stop: threading.Event
    answered: dict[str, int] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    def run(self) -> None:
        connection = http.client.HTTPConnection(*self.address, timeout=10)
        while not self.stop.is_set():
            try:
                reply = ask(connection, "POST", RAW, DARK)
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(repr(error))
                connection.close()
                continue
            if reply.status != 200:
                self.failed.append(f"{reply.status} {reply.body!r}")
            digest = reply.headers[DIGEST_HEADER]
            self.answered[digest] = self.answered.get(digest, 0) + 1
            if self.pause_s:
                self.stop.wait(self.pause_s)
        connection.close()


def test_three_changes_of_process_under_load_lose_no_request(
    shelf: Shelf, tmp_path: Path, listener: socket.socket
) -> None:
    stop = threading.Event()
    address = listener.getsockname()
    pauses = [0, 0, 0.01, 0.03, 0.1, 0.3]
    clients = [Client(address, pause, stop) for pause in pauses]
    threads = [threading.Thread(target=client.run) for client in clients]

    def begin(stack: ExitStack, name: str, digest: Digest) -> Running:
        started = server(
            tmp_path / "state",
            shelf.root / name,
            digest,
            pass_fd=listener.fileno(),
            trust_dir=str(shelf.root / "keys/trust"),
            window_s=0.5,
            max_in_flight=64,
            drain_s=4.0,
        )
        running = stack.enter_context(started)
        running.wait_ready()
        return running

    def answered() -> dict[str, int]:
        counted: dict[str, int] = {}
        for client in clients:
            for digest, number in client.answered.items():
                counted[digest] = counted.get(digest, 0) + number
        return counted

    with ExitStack() as stack:
        current = begin(stack, "old", shelf.old)
        try:
            for thread in threads:
                thread.start()
            for name, digest in (("new", shelf.new), ("old", shelf.old), ("new", shelf.new)):
                following = begin(stack, name, digest)
                before = answered().get(digest, 0)
                assert current.drain() == 0
                current = following
                wait_for(
                    lambda digest=digest, before=before: answered().get(digest, 0) > before + 50,
                    "the new one answers",
                )
        finally:
            stop.set()
            for thread in threads:
                thread.join(20)
        assert current.drain() == 0
    assert [failure for client in clients for failure in client.failed] == []
    lines = (tmp_path / "state/windows.jsonl").read_text().splitlines()
    spooled = sum(json.loads(line).get("ok", 0) for line in lines)
    assert sum(answered().values()) == spooled
