"""A model too slow for the event loop answers from a thread, and a failing one is an error."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgefleet.edge import slots
from edgefleet.edge.contract import MODEL_FILE, Digest, SelfCheck, ServerSettings
from edgefleet.edge.errors import PackageError
from edgefleet.edge.loading import Loaded, take_over
from edgefleet.edge.node import Node
from edgefleet.edge.public import public_app
from edgefleet.edge.slots import Slot, Tensor
from edgefleet.model.signature import sign
from tests.edge.conftest import Shelf
from tests.edge.tiny import BRIGHT, tiny_package


class NotANumber:
    """A session whose answer is no probability."""

    def run(self, _outputs: list[str], inputs: dict[str, Tensor]) -> list[Tensor]:
        return [np.full((len(inputs["image"]), 3), np.nan, np.float32)]


class Broken:
    """A session that fails on this input."""

    def run(self, _outputs: list[str], _inputs: dict[str, Tensor]) -> list[Tensor]:
        message = "no kernel for this"
        raise RuntimeError(message)


@pytest.fixture
def slot(shelf: Shelf) -> Slot:
    return slots.load(shelf.root / "old", shelf.root / "keys/trust", shelf.old, threads=1)


def classify(slot: Slot, state: Path, *, quick: bool) -> tuple[int, Any, Node]:
    """Send one image through the application itself."""
    settings = ServerSettings(
        workload="w",
        node="n",
        digest=slot.digest,
        package_dir="",
        trust_dir="",
        state_dir=str(state),
        private_socket="",
    )

    async def scene() -> tuple[int, Any, Node]:
        node = Node.start(settings)
        take_over(node, Loaded(slot, SelfCheck(passed=True, agreed=1, total=1), quick), None)
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": BRIGHT, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        path = "/v2/models/tiny/raw"
        scope = {"type": "http", "method": "POST", "path": path, "query_string": b""}
        scope |= {"headers": [], "state": {"arrived": 0.0}}
        await public_app(node)(scope, receive, send)
        return sent[0]["status"], json.loads(sent[1]["body"]), node

    return asyncio.run(scene())


def test_a_signed_model_cannot_read_a_file_outside_of_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    size = 64 * 3 * 4
    Path("outside").write_bytes(bytes(size))
    tiny_package(tmp_path / "package", tmp_path / "keys")
    path = tmp_path / "package" / MODEL_FILE
    model = onnx.load(path)
    weights = model.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": "outside", "offset": "0", "length": str(size)}.items():
        entry = weights.external_data.add()
        entry.key, entry.value = key, value
    path.write_bytes(model.SerializeToString())
    sign(tmp_path / "package", tmp_path / "keys/signing.key")
    digest = Digest("sha256:" + "a" * 64)
    with pytest.raises(PackageError, match="does not load it"):
        slots.load(tmp_path / "package", tmp_path / "keys/trust", digest, threads=1)


@pytest.mark.parametrize("quick", [True, False])
def test_the_answer_is_the_same_on_the_loop_and_from_a_thread(
    slot: Slot,
    tmp_path: Path,
    quick: bool,  # noqa: FBT001 - both ways
) -> None:
    status, body, _node = classify(slot, tmp_path, quick=quick)
    assert (status, body["label"]) == (200, "dent")


@pytest.mark.parametrize("session", [NotANumber(), Broken()])
def test_a_model_that_fails_on_an_input_is_a_server_error_and_nothing_more(
    slot: Slot, tmp_path: Path, session: Any
) -> None:
    status, body, node = classify(replace(slot, session=session), tmp_path, quick=True)
    assert (status, body) == (500, {"error": "the model failed on this input"})
    now = time.time()
    assert node.books.book.total(now).server_errors == 1
    assert node.books.book.total(now).ok == 0
