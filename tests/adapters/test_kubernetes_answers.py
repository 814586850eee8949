"""Servers are asked when they may say something new, and believed in between."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec
import pytest

from edgefleet.adapters.kubernetes.answers import Answers
from edgefleet.adapters.kubernetes.objects import Pod
from edgefleet.edge.contract import (
    LOADING,
    Digest,
    Evidence,
    SelfCheck,
    Summary,
    SwapState,
    parse_digest,
)
from edgefleet.fleet.manifest_names import MANAGER

OLD, NEW = (parse_digest(f"sha256:{digit * 64}") for digit in "12")


@dataclass
class Server:
    """Says what it is told to, and counts who asks."""

    port: int = 0
    asked: int = 0
    ready: bool = True
    silent: bool = False
    digest: Digest = field(default=OLD)
    swap: SwapState | None = None

    def content(self) -> bytes:
        self.asked += 1
        passed = self.ready
        check = SelfCheck(passed=passed, agreed=0, total=0, reason="" if passed else LOADING)
        total = Evidence(window=0, digest=self.digest, boot="n/1")
        summary = Summary(
            workload="job",
            digest=self.digest,
            boot="n/1",
            ready=self.ready,
            self_check=check,
            warm=True,
            window_s=1.0,
            uptime_s=1.0,
            p50_ms=None,
            p95_ms=None,
            p99_ms=None,
            queue_depth=0,
            total=total,
            swap=self.swap,
        )
        return msgspec.json.encode(summary)


@pytest.fixture
def server() -> Iterator[Server]:
    told = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = told.content()
            self.send_response(503 if told.silent else 200)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        told.port = listening.server_address[1]
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield told
        listening.shutdown()


@pytest.fixture
def answers(server: Server) -> Iterator[Answers]:
    found = Answers(server.port)
    yield found
    found.close()


def pod(version: int, *, ready: bool, package: Digest = OLD) -> Pod:
    status = "True" if ready else "False"
    return msgspec.convert(
        {
            "metadata": {
                "name": "job-n",
                "uid": "u",
                "resourceVersion": str(version),
                "labels": {"app.kubernetes.io/managed-by": MANAGER},
            },
            "spec": {"containers": [{"image": f"r@{package}"}]},
            "status": {
                "phase": "Running",
                "podIP": "127.0.0.1",
                "conditions": [{"type": "Ready", "status": status}],
            },
        },
        Pod,
    )


def test_a_ready_server_is_believed_until_its_pod_changes(server: Server, answers: Answers) -> None:
    for _ in range(3):
        assert answers.of([(pod(1, ready=True), OLD)])["u"].summary.ready
    assert server.asked == 1
    answers.of([(pod(2, ready=True), OLD)])
    assert server.asked == 2


def test_one_that_is_to_be_replaced_is_not_asked_at_every_look(
    server: Server, answers: Answers
) -> None:
    for _ in range(3):
        assert answers.of([(pod(1, ready=True), NEW)])["u"].summary.digest == OLD
    assert server.asked == 1


def test_one_that_serves_what_neither_its_order_nor_its_image_names_is_asked_at_every_look(
    server: Server, answers: Answers
) -> None:
    server.digest = NEW
    for _ in range(3):
        answers.of([(pod(1, ready=True), OLD)])
    assert server.asked == 3


def test_one_that_takes_a_model_in_place_is_asked_until_it_serves_it(
    server: Server, answers: Answers
) -> None:
    server.swap = SwapState(want=NEW, epoch=1, reason="", pending=True)
    for _ in range(3):
        answers.of([(pod(1, ready=True), NEW)])
    assert server.asked == 3
    server.digest = NEW
    for _ in range(3):
        answers.of([(pod(1, ready=True), NEW)])
    assert server.asked == 4


@pytest.mark.parametrize("silent", [True, False])
def test_one_that_loads_is_asked_again_once_its_pod_is_ready_until_it_says_the_same(
    server: Server, answers: Answers, monkeypatch: pytest.MonkeyPatch, *, silent: bool
) -> None:
    monkeypatch.setattr("edgefleet.adapters.kubernetes.answers._AGAIN_S", 60.0)
    server.ready, server.silent = False, silent
    for _ in range(3):
        answers.of([(pod(1, ready=False), OLD)])
    assert server.asked == 1
    for _ in range(2):
        found = answers.of([(pod(2, ready=True), OLD)])
        assert not found or not found["u"].summary.ready
    assert server.asked == 3
    server.ready, server.silent = True, False
    assert answers.of([(pod(2, ready=True), OLD)])["u"].summary.ready
