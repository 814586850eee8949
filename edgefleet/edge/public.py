"""The public door: Open Inference Protocol V2, the raw route, feedback and metrics."""

from __future__ import annotations

from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edgefleet.edge import tensors
from edgefleet.edge.contract import Card
from edgefleet.edge.errors import Declined
from edgefleet.edge.feedback import feedback_routes
from edgefleet.edge.inference import Exchange, Inference, check_id
from edgefleet.edge.metrics import metrics_endpoints
from edgefleet.edge.node import Node
from edgefleet.edge.private import status_routes
from edgefleet.edge.replies import JSON, on_declined, on_method, on_missing, reply

OCTETS: Final = "application/octet-stream"
_JSON_LENGTH: Final = "inference-header-content-length"


def public_app(node: Node) -> Starlette:
    """Return the application of the public socket.

    Raises:
        RuntimeError: the node has loaded nothing yet.
    """
    if node.serving is None:
        raise RuntimeError("the public door opens after loading")
    return Starlette(
        routes=[
            *_inference_routes(node),
            *_protocol_routes(node),
            *status_routes(node),
            *(Route(path, endpoint) for path, endpoint in metrics_endpoints(node).items()),
            *feedback_routes(node),
        ],
        exception_handlers={Declined: on_declined, 404: on_missing, 405: on_method},
    )


def _inference_routes(node: Node) -> list[Route]:
    inference = Inference(node)

    async def raw(exchange: Exchange) -> Response:
        card = exchange.serving.slot.card
        expect_type(exchange.request, OCTETS)
        batch = tensors.from_bytes(await inference.body(exchange), card.input, 1)
        probabilities = (await inference.answer(exchange, batch))[0]
        index = int(probabilities.argmax())
        return reply(
            {
                "label": card.labels[index],
                "index": index,
                "probabilities": probabilities.tolist(),
                "id": exchange.id,
            }
        )

    async def infer(exchange: Exchange) -> Response:
        card = exchange.serving.slot.card
        expect_type(exchange.request, JSON, OCTETS)
        length = exchange.request.headers.get(_JSON_LENGTH)
        if length is not None and not length.isdecimal():
            raise Declined(400, f"Inference-Header-Content-Length {length!r} is not a number")
        body = await inference.body(exchange)
        asked, binary = tensors.parse_infer(body, None if length is None else int(length))
        if asked.id and "x-request-id" not in exchange.request.headers:
            check_id(asked.id)
            exchange.id = asked.id
        batch = tensors.input_batch(asked, binary, card, node.settings.max_batch)
        as_bytes = tensors.wants_binary(asked, card)
        outputs = await inference.answer(exchange, batch)
        content, head = tensors.infer_response(outputs, card, exchange.id, binary=as_bytes)
        if head is None:
            return Response(content, media_type=JSON)
        return Response(content, media_type=OCTETS, headers={_JSON_LENGTH: str(head)})

    return [
        Route("/v2/models/{name}/raw", inference.counted(raw), methods=["POST"]),
        Route("/v2/models/{name}/infer", inference.counted(infer), methods=["POST"]),
    ]


def _protocol_routes(node: Node) -> list[Route]:
    def expected(request: Request) -> Card:
        name = request.path_params["name"]
        card = node.current.slot.card
        if name != card.model:
            raise Declined(404, f"model {name!r}: this node serves {card.model!r}")
        return card

    async def server(_request: Request) -> Response:
        extensions = ["binary_tensor_data"]
        return reply({"name": "edgefleet", "version": "1", "extensions": extensions})

    async def live(_request: Request) -> Response:
        return reply({"live": True})

    async def ready(_request: Request) -> Response:
        return reply({"ready": not node.problem}, 503 if node.problem else 200)

    async def model(request: Request) -> Response:
        return reply(tensors.metadata(expected(request)))

    async def model_ready(request: Request) -> Response:
        expected(request)
        return await ready(request)

    return [
        Route("/v2", server),
        Route("/v2/health/live", live),
        Route("/v2/health/ready", ready),
        Route("/v2/models/{name}", model),
        Route("/v2/models/{name}/ready", model_ready),
    ]


def expect_type(request: Request, *accepted: str) -> None:
    """Accept a content type; a request without one is taken at its route's word.

    Raises:
        Declined: it is another.
    """
    stated = request.headers.get("content-type", accepted[0]).partition(";")[0].strip().lower()
    if stated not in accepted:
        raise Declined(415, f"content type {stated!r}: expected {' or '.join(accepted)}")
