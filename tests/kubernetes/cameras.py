"""The plant's cameras and QA stations in front of real nodes, as in front of local ones.

They ask a supervisor which nodes there are; here a small server answers in its place.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec

from edgefleet.plant.config import PlantConfig


@dataclass(frozen=True)
class Line:
    """A camera's node."""

    factory: str
    node: str
    workload: str
    url: str
    changing: bool = True
    """Always: the cameras never slow down, so that a gap would show."""
    ready: bool = True
    wanted: bool = True


@contextmanager
def cameras(config: PlantConfig, lines: Sequence[Line]) -> Iterator[None]:
    """Photograph as long as the block lasts; what became of it is read from `config.root`."""
    root = Path(config.root)
    root.mkdir(parents=True)
    content = json.dumps([asdict(line) for line in lines]).encode()

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, name="lines", daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    (root / "supervisor.json").write_text(json.dumps({"url": address}))
    (root / "config.json").write_bytes(msgspec.json.encode(config))
    command = [sys.executable, "-m", "edgefleet.plant", str(root / "config.json")]
    plant = subprocess.Popen(command)
    try:
        yield
        assert plant.poll() is None, "the cameras ended by themselves"
    finally:
        plant.terminate()
        plant.wait()
        server.shutdown()
        server.server_close()
