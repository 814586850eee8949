"""An API server that is ready means its refusals; one that starts knows no roles yet."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from kubernetes.client import ApiClient, Configuration

from edgefleet.adapters.kubernetes import api
from edgefleet.adapters.kubernetes.api import Api
from edgefleet.errors import Refused, Unreachable

PODS = "/api/v1/pods"


@dataclass
class Server:
    """Refuses everything; `ready` is what it says of itself, `asked` how often it was asked."""

    url: str = ""
    refusal: int = 403
    ready: int = 200
    asked: int = 0


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(api.time, "sleep", lambda _: None)
    told = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told.asked += self.path == PODS
            self.send_response(told.ready if self.path == "/readyz" else told.refusal)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        told.url = f"http://127.0.0.1:{listening.server_address[1]}"
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield told
        listening.shutdown()


def client(server: Server) -> Api:
    return Api("graz", ApiClient(Configuration(host=server.url)))


@pytest.mark.parametrize("refusal", [401, 403])
def test_a_server_that_is_ready_means_its_refusal(server: Server, refusal: int) -> None:
    server.refusal = refusal
    with pytest.raises(Refused, match="graz"):
        client(server).get(PODS)
    assert server.asked == 1


@pytest.mark.parametrize("refusal", [401, 403])
@pytest.mark.parametrize("ready", [403, 500])
def test_a_server_that_starts_knows_no_roles_yet_and_is_asked_again(
    server: Server, refusal: int, ready: int
) -> None:
    server.refusal, server.ready = refusal, ready
    with pytest.raises(Unreachable):
        client(server).get(PODS)
    assert server.asked == 3
