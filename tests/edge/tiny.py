"""A tiny signed package and a real server process around it, for every test that needs one."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from edgefleet.edge.contract import (
    CARD_FILE,
    GOLDEN_INPUTS_FILE,
    GOLDEN_OUTPUTS_FILE,
    MODEL_FILE,
    PACKAGE_FILES,
    Card,
    Digest,
    Needs,
    ServerSettings,
    TensorSpec,
    parse_digest,
)
from edgefleet.model.signature import make_key, sign

LABELS = ("ok", "scratch", "dent")
SHAPE = (1, 8, 8)
NAME = "tiny"
DARK = bytes(64)
"""An image of zeros: `ok`. With a large bias the model says `scratch`."""
BRIGHT = bytes([255]) * 64
"""An image of 255: `dent`, whatever the bias."""


def tiny_package(
    folder: Path,
    key_dir: Path,
    *,
    bias: float = 0.0,
    version: str = "1",
    name: str = NAME,
    golden_shift: float = 0.0,
    labels: tuple[str, ...] = LABELS,
    needs: Needs | None = None,
) -> Digest:
    """Write a signed package of a classifier and return a digest over its files.

    `bias` speaks for `scratch`: from 2 on, dark images are one. `golden_shift` falsifies the
    reference answers, so that the self-check fails. Classes after the third are never found.
    """
    folder.mkdir(parents=True, exist_ok=True)
    make_key(key_dir)
    onnx.save(_model(bias, len(labels)), folder / MODEL_FILE)
    card = Card(
        model=name,
        version=version,
        task="classification",
        metric="accuracy",
        labels=labels,
        input=TensorSpec(name="image", dtype="uint8", shape=SHAPE, low=0, high=255),
        output=TensorSpec(name="probabilities", dtype="float32", shape=(len(labels),)),
        tolerance=1e-4,
        needs=needs or Needs(),
    )
    (folder / CARD_FILE).write_bytes(msgspec.json.encode(card))
    inputs = np.random.default_rng(7).integers(0, 256, (20, *SHAPE), dtype=np.uint8)
    session = ort.InferenceSession(folder / MODEL_FILE, providers=["CPUExecutionProvider"])
    outputs = session.run(None, {"image": inputs})[0]
    np.save(folder / GOLDEN_INPUTS_FILE, inputs)
    np.save(folder / GOLDEN_OUTPUTS_FILE, outputs + np.float32(golden_shift))
    sign(folder, key_dir / "signing.key")
    whole = hashlib.sha256()
    for file in PACKAGE_FILES:
        whole.update((folder / file).read_bytes())
    return parse_digest(f"sha256:{whole.hexdigest()}")


def _model(bias: float, classes: int) -> onnx.ModelProto:
    """Softmax over (1, bias, 6 x mean brightness, 0, ...), noise-free and quick."""
    weights = np.zeros((64, classes), np.float32)
    biases = np.zeros(classes, np.float32)
    biases[:2] = 1, bias
    weights[:, 2] = 6 / (64 * 255)
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("Flatten", ["floats"], ["flat"]),
            helper.make_node("Gemm", ["flat", "weights", "biases"], ["scores"]),
            helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
        ],
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", *SHAPE])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", classes])],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(biases, "biases"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("node", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(10)
        self.sock.connect(self._path)


@dataclass
class Reply:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


def ask(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> Reply:
    """Send one request on a connection; nothing is retried."""
    connection.request(method, path, body=body, headers=headers or {})
    response = connection.getresponse()
    content = response.read()
    return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, content)


@dataclass
class Running:
    """A server process of ours."""

    settings: ServerSettings
    process: subprocess.Popen[bytes]
    log: Path
    connections: list[http.client.HTTPConnection] = field(default_factory=list)

    def private(self, method: str, path: str) -> Reply:
        """Ask on the private socket."""
        assert self.settings.private_socket is not None
        connection = _UnixConnection(self.settings.private_socket)
        try:
            return ask(connection, method, path)
        finally:
            connection.close()

    def status(self, method: str, path: str) -> Reply:
        """Ask on the status door."""
        host, _, port = self.status_address().rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
        try:
            return ask(connection, method, path)
        finally:
            connection.close()

    def status_address(self) -> str:
        """Return where the status door is; its port was 0 and the log says which one it became."""
        told = re.compile(r"status door: (\S+:\d+)")
        wait_for(lambda: told.search(self.log.read_text()), "the status door")
        found = told.search(self.log.read_text())
        assert found is not None
        return found[1]

    def open(self) -> http.client.HTTPConnection:
        """Return a new public connection."""
        host, _, port = self.private("GET", "/health").json["address"].rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
        self.connections.append(connection)
        return connection

    def public(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
        """Ask on a new public connection."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection = self.open()
        try:
            return ask(connection, method, path, body, named)
        finally:
            connection.close()

    def raw(self, image: bytes = DARK, request_id: str = "") -> Reply:
        """Classify an image."""
        headers = {"x_request_id": request_id} if request_id else {}
        path = f"/v2/models/{NAME}/raw"
        return self.public("POST", path, image, content_type="application/octet-stream", **headers)

    def wait_ready(self) -> None:
        """Wait until the server accepts."""
        wait_for(lambda: self._status() == 200, f"ready: {self.log.read_text()}")

    def drain(self) -> int:
        """Ask for a drain; return the exit code."""
        self.private("POST", "/drain")
        return self.process.wait(30)

    def _status(self) -> int:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.private("GET", "/health").status
        except OSError:
            return 0


def wait_for(condition: Callable[[], object], what: str, seconds: float = 30) -> None:
    """Return when the condition holds; fail after the deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


@contextmanager
def server(
    folder: Path,
    package: Path,
    digest: Digest,
    *,
    pass_fd: int | None = None,
    inline: bool = False,
    **changes: Any,
) -> Iterator[Running]:
    """Start a server on a package, its state in `folder`; it is killed at the end.

    `inline`: its settings are its argument, instead of the path of a file with them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Short: a unix socket's path has at most 107 bytes.
    sockets = Path(tempfile.mkdtemp(prefix="edge-"))
    settings = ServerSettings(
        workload="inspection",
        node="n1",
        digest=digest,
        package_dir=str(package),
        listen_fd=pass_fd,
        **{
            "trust_dir": str(folder.parent / "keys/trust"),
            "state_dir": str(folder),
            "private_socket": str(sockets / "private.sock"),
            **changes,
        },
    )
    written = sockets / "settings.json"
    encoded = msgspec.json.encode(settings)
    written.write_bytes(encoded)
    log = sockets / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "edgefleet.edge", encoded.decode() if inline else str(written)],
            stdout=output,
            stderr=output,
            pass_fds=() if pass_fd is None else (pass_fd,),
            env={**os.environ, "PYTHONWARNINGS": "error"},
        )
    running = Running(settings, process, log)
    try:
        yield running
    finally:
        for connection in running.connections:
            connection.close()
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait(10)
        for path in sockets.iterdir():
            path.unlink()
        sockets.rmdir()
