"""One inference request: admit it, answer it, count it, and remember it for its label."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from edgefleet.edge.answers import Answer
from edgefleet.edge.bodies import read_body
from edgefleet.edge.contract import (
    DIGEST_HEADER,
    LABEL_HEADER,
    REQUEST_ID_HEADER,
    bucket_of,
)
from edgefleet.edge.errors import Declined
from edgefleet.edge.node import Node, Serving
from edgefleet.edge.replies import refusal, reply
from edgefleet.edge.sampling import draw
from edgefleet.edge.slots import Slot, Tensor

_RETRY_AFTER_S: Final = 1
_LONGEST_ID: Final = 128
_OK: Final = 200
_REFUSED: Final = 503
_SERVER_ERROR: Final = 500

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Exchange:
    """One request under way."""

    request: Request
    serving: Serving
    """What served when it came in: answers it, and has it on its account, also after a swap."""
    at: float
    window: int
    id: str
    """The sender's, else generated; an id in a V2 body counts as the sender's."""
    wanted: bool = False


Answering = Callable[[Exchange], Awaitable[Response]]


class Inference:
    """Answers inference requests for one node; belongs to the event loop's thread."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._made = 0
        # Started by the first inference that is not quick.
        self._thread = ThreadPoolExecutor(1, "inference")

    def counted(self, answering: Answering) -> Callable[[Request], Awaitable[Response]]:
        """Return an endpoint that answers within the limits and counts the outcome."""

        async def endpoint(request: Request) -> Response:
            exchange = self._begin(request)
            try:
                response = await self._outcome(exchange, answering)
                self._end(exchange, response)
            finally:
                exchange.serving.in_flight -= 1
            return response

        return endpoint

    async def _outcome(self, exchange: Exchange, answering: Answering) -> Response:
        try:
            self._admit(exchange)
            return await answering(exchange)
        except Declined as declined:
            return refusal(declined)
        except ClientDisconnect:
            return refusal(Declined(400, "the sender went away"))
        except Exception:  # a boundary: the model failed on this input, others go on
            logger.exception("request %s", exchange.id)
            return reply({"error": "the model failed on this input"}, _SERVER_ERROR)

    async def body(self, exchange: Exchange) -> bytes:
        """Return the request's body.

        Raises:
            Declined: it is larger than allowed, or takes too long.
        """
        settings = self._node.settings
        # One slower than a drain could not be answered while draining either.
        return await read_body(exchange.request, settings.max_body_bytes, settings.drain_s)

    async def answer(self, exchange: Exchange, batch: Tensor) -> Tensor:
        """Return the model's outputs, and see to label and shadow of a single input.

        Raises:
            ArithmeticError: an output is not a finite number.
        """
        serving = exchange.serving
        if serving.quick:
            outputs, seconds = _timed(serving.slot, batch)
        else:
            loop = asyncio.get_running_loop()
            outputs, seconds = await loop.run_in_executor(self._thread, _timed, serving.slot, batch)
        if not np.isfinite(outputs).all():
            message = f"an output is not a finite number: {outputs}"
            raise ArithmeticError(message)
        if len(batch) == 1:
            self._sample(exchange, batch, outputs, seconds)
        return outputs

    def _begin(self, request: Request) -> Exchange:
        now = time.time()
        serving = self._node.current
        serving.in_flight += 1
        book = self._node.books.book
        window = book.window(now)
        counts = book.of(serving.term.key(window))
        counts.queue_peak = max(counts.queue_peak, self._node.gate.depth)
        request_id = request.headers.get(REQUEST_ID_HEADER, "")
        if not request_id:
            self._made += 1
            request_id = f"{self._node.boot}-{self._made:x}"
        return Exchange(request, serving, now, window, request_id)

    def _admit(self, exchange: Exchange) -> None:
        limit = self._node.settings.max_in_flight
        depth = self._node.gate.depth
        if depth > limit:
            message = f"{depth} requests in flight, at most {limit}: try again"
            raise Declined(_REFUSED, message, retry_after_s=_RETRY_AFTER_S)
        model = exchange.request.path_params["name"]
        card = exchange.serving.slot.card
        if model != card.model:
            raise Declined(404, f"model {model!r}: this node serves {card.model!r}")
        check_id(exchange.id)

    def _sample(self, exchange: Exchange, batch: Tensor, outputs: Tensor, serving_s: float) -> None:
        """Choose by the request's hash, before any label: is a label wanted, is it shadowed."""
        node, serving = self._node, exchange.serving
        slot, shadow = serving.slot, serving.shadow
        key = serving.term.key(exchange.window)
        drawn = draw(exchange.id)
        exchange.wanted = drawn < node.settings.label_rate
        answer = Answer(
            id=exchange.id,
            at=exchange.at,
            window=key.window,
            digest=key.digest,
            boot=key.boot,
            warm=key.warm,
            answer=slot.card.labels[int(outputs[0].argmax())],
            shadow=None,
            wanted=exchange.wanted,
        )
        if not shadow.wants(drawn):
            node.books.keep(answer)
            return

        # Holds nothing of the slot, which a swap may have dropped by then.
        def compare(label: str | None, shadow_s: float) -> None:
            # Kept only now, so that a label never meets half of an answer.
            node.books.keep(answer._replace(shadow=label))
            if label is None:
                return
            sums = node.books.book.of(key).sums
            sums["shadowed"] += 1
            sums["disagreed"] += label != answer.answer
            sums["serving_us"] += round(serving_s * 1e6)
            sums["shadow_us"] += round(shadow_s * 1e6)

        # On the loop's next round: by then the answer has been written.
        asyncio.get_running_loop().call_soon(shadow.ask, batch, compare)

    def _end(self, exchange: Exchange, response: Response) -> None:
        """Count the outcome and put on what every inference answer carries."""
        # Asked for again: the window may have been closed while the request was answered.
        serving = exchange.serving
        counts = self._node.books.book.of(serving.term.key(exchange.window))
        status = response.status_code
        headers = response.headers
        headers[DIGEST_HEADER] = serving.slot.digest
        if len(exchange.id) <= _LONGEST_ID:
            headers[REQUEST_ID_HEADER] = exchange.id
        if status == _OK:
            arrived = exchange.request.scope["state"]["arrived"]
            counts.sums["ok"] += 1
            counts.latency[bucket_of(time.perf_counter() - arrived)] += 1
            if exchange.wanted:
                counts.sums["wanted"] += 1
                headers[LABEL_HEADER] = "wanted"
        elif status == _REFUSED:
            counts.sums["refused"] += 1
        else:
            key = "server_errors" if status >= _SERVER_ERROR else "client_errors"
            counts.sums[key] += 1


def _timed(slot: Slot, batch: Tensor) -> tuple[Tensor, float]:
    start = time.perf_counter()
    outputs = slot.run(batch)
    return outputs, time.perf_counter() - start


def check_id(request_id: str) -> None:
    """Accept a request id.

    Raises:
        Declined: it is too long to be kept.
    """
    if len(request_id) > _LONGEST_ID:
        message = f"a request id of {len(request_id)} characters: at most {_LONGEST_ID}"
        raise Declined(400, message)
