"""A model too slow for the event loop answers from a thread, and a failing one is an error."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgefleet.edge import slots
from edgefleet.edge.contract import ServerSettings
from edgefleet.edge.node import Node, Serving
from edgefleet.edge.public import public_app
from edgefleet.edge.shadow import Shadow
from edgefleet.edge.slots import Slot, Tensor
from tests.edge.conftest import Shelf
from tests.edge.tiny import BRIGHT


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
        node.serving = Serving(slot, Shadow(slot, None, None), quick)
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
    assert node.books.book.total(0).server_errors == 1
    assert node.books.book.total(0).ok == 0
