"""The status door answers from the first moment to the last, and orders nothing."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgefleet.edge.contract import ServerSettings, Summary
from tests.edge.conftest import Shelf
from tests.edge.test_lifecycle import RAW
from tests.edge.tiny import DARK, ask, server, tiny_package, wait_for

STATUS: dict[str, Any] = {"status_port": 0, "status_host": "127.0.0.1", "log_level": "info"}


def test_a_server_in_a_pod_is_started_by_its_argument_and_asked_over_tcp(
    shelf: Shelf, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    with shelf.server(state, inline=True, private_socket=None, **STATUS) as running:
        wait_for(lambda: running.status("GET", "/health").status == 200, "ready")
        assert running.status("GET", "/health/live").status == 200
        said = msgspec.json.decode(running.status("GET", "/metrics/summary").body, type=Summary)
        assert said.ready
        assert said.disk_free_mb is not None
        assert b"edge_ready 1.0" in running.status("GET", "/metrics").body
        windows = running.status("GET", "/metrics/windows?after=-1")
        assert windows.json["window_s"] == 60.0
        assert running.status("GET", "/metrics/windows?after=x").status == 400
        assert running.status("POST", "/drain").status == 404
        assert running.status("POST", RAW).status == 404
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(20) == 0


def test_a_pod_that_cannot_serve_says_why(tmp_path: Path) -> None:
    digest = tiny_package(tmp_path / "package", tmp_path / "keys", golden_shift=0.25)
    with server(
        tmp_path / "state", tmp_path / "package", digest, private_socket=None, **STATUS
    ) as running:
        wait_for(
            lambda: "golden set" in running.status("GET", "/health").json["reason"], "a reason"
        )
        assert running.status("GET", "/health").json["ready"] is False
        check = running.status("GET", "/metrics/summary").json["self_check"]
        assert "0 of 20 answers agree" in check["reason"]
        for path in ("/metrics", "/metrics/windows"):
            refused = running.status("GET", path)
            assert refused.status == 503
            assert "0 of 20 answers agree" in refused.json["error"]


def test_told_to_end_it_is_not_ready_and_still_accepts_until_its_clients_know(
    shelf: Shelf, tmp_path: Path
) -> None:
    with shelf.server(tmp_path / "state", linger_s=1.0, drain_s=1.0) as running:
        running.wait_ready()
        before = running.open()
        running.process.send_signal(signal.SIGTERM)
        wait_for(lambda: running.private("GET", "/health").status == 503, "not ready")
        # A connection of its own for each, as from a client that does not know yet.
        assert running.raw().status == 200
        reply = ask(before, "POST", RAW, DARK)
        assert (reply.status, reply.headers.get("connection")) == (200, "close")
        assert running.process.wait(20) == 0


def test_as_long_as_somebody_comes_it_does_not_go_and_then_it_goes(
    shelf: Shelf, tmp_path: Path
) -> None:
    patience = {"linger_s": 0.5, "linger_max_s": 2.5, "drain_s": 1.0}
    with shelf.server(tmp_path / "state", **patience) as running:
        running.wait_ready()
        running.process.send_signal(signal.SIGTERM)
        told = time.monotonic()
        while time.monotonic() < told + 2.0:
            assert running.raw().status == 200
        # It is as patient as it was told to be, and no longer: a camera may ask for ever.
        with suppress(OSError):
            while True:
                running.raw()
        assert time.monotonic() >= told + 2.5
        assert running.process.wait(20) == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "neither private_socket nor status_port"),
        ({"status_port": 1, "status_host": "192.0.2.1"}, "192.0.2.1"),
    ],
)
def test_a_server_that_nobody_could_ask_does_not_start(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    digest = tiny_package(tmp_path / "package", tmp_path / "keys")
    settings = ServerSettings(
        workload="w",
        node="n",
        digest=digest,
        package_dir="",
        trust_dir="",
        state_dir=str(tmp_path),
        **changes,
    )
    ended = subprocess.run(
        [sys.executable, "-m", "edgefleet.edge", msgspec.json.encode(settings).decode()],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 2
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr


def test_settings_in_the_argument_that_cannot_be_read_are_an_error_in_words() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "edgefleet.edge", json.dumps({"digest": 1})],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 2
    assert "the settings in the argument" in ended.stderr
