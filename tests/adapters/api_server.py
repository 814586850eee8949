"""An API server of which nothing is there but its answers, each told beforehand."""

from __future__ import annotations

import http.server
import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from kubernetes.client import ApiClient, Configuration

from edgefleet.adapters.kubernetes.api import Api


@dataclass(frozen=True)
class Answer:
    """What is answered to one request."""

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    silent: bool = False
    """Nothing comes; of a watch: nothing after its body."""
    cut: bool = False
    """The connection ends before the body does."""


@dataclass
class Server:
    """Gives its answers one after the other, and the last one from then on."""

    url: str = ""
    ready: int = 200
    """What it says of itself at /readyz."""
    answers: Sequence[Answer] = (Answer(),)
    watches: Sequence[Answer] = (Answer(silent=True),)
    asked: list[str] = field(default_factory=list)
    """Paths of the requests that were no watches."""
    watched: list[str] = field(default_factory=list)
    opened: queue.Queue[str] = field(default_factory=queue.Queue)
    """Paths of the watches whose body was sent, as they come."""
    ended: threading.Event = field(default_factory=threading.Event)

    def api(self) -> Api:
        return Api("graz", ApiClient(Configuration(host=self.url)))


class Handler(http.server.BaseHTTPRequestHandler):
    """Does what its server was told."""

    protocol_version = "HTTP/1.1"
    told: Server

    def do_GET(self) -> None:
        if self.path == "/readyz":
            self._answer(Answer(self.told.ready, b""))
        elif "watch=true" in self.path:
            self._stream(_next(self.told.watches, self.told.watched, self.path))
        else:
            self._answer(_next(self.told.answers, self.told.asked, self.path))

    def _answer(self, answer: Answer) -> None:
        if answer.silent:
            self.told.ended.wait()
        self._begin(answer, "content-length", str(len(answer.body) + answer.cut))
        self.wfile.write(answer.body)
        self.close_connection = answer.cut

    def _stream(self, answer: Answer) -> None:
        if answer.status != http.HTTPStatus.OK:
            self._answer(answer)
            return
        self._begin(answer, "transfer-encoding", "chunked")
        if answer.body:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(answer.body), answer.body))
        self.told.opened.put(self.path)
        if answer.silent:
            self.told.ended.wait()
        self.wfile.write(b"0\r\n\r\n")

    def _begin(self, answer: Answer, header: str, value: str) -> None:
        self.send_response(answer.status)
        for name, text in {**answer.headers, header: value}.items():
            self.send_header(name, text)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class Listening(http.server.ThreadingHTTPServer):
    """Says nothing of callers that do not wait for its answers."""

    def handle_error(self, *_: object) -> None:
        pass


def _next(answers: Sequence[Answer], asked: list[str], path: str) -> Answer:
    asked.append(path)
    return answers[min(len(asked), len(answers)) - 1]


@contextmanager
def api_server() -> Iterator[Server]:
    """Yield a server that answers on this machine."""
    told = Server()
    handler = type("Told", (Handler,), {"told": told})
    with Listening(("127.0.0.1", 0), handler) as listening:
        told.url = f"http://127.0.0.1:{listening.server_address[1]}"
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        try:
            yield told
        finally:
            told.ended.set()
            listening.shutdown()
