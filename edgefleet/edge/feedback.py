"""The true labels of earlier requests, from a QA station: that is how live accuracy is measured."""

from __future__ import annotations

from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edgefleet.edge.bodies import read_body
from edgefleet.edge.contract import Card
from edgefleet.edge.errors import Declined
from edgefleet.edge.node import Node
from edgefleet.edge.replies import reply

_LONGEST_BODY: Final = 4096
_MOST_ASKED: Final = 1000


class Feedback(msgspec.Struct, frozen=True):
    """What a QA station found out about a request."""

    id: str
    label: str | int
    """A class by name or by index."""


def class_name(label: str | int, card: Card) -> str:
    """Return the class that a label names.

    Raises:
        Declined: the model has no such class.
    """
    if isinstance(label, int) and 0 <= label < len(card.labels):
        return card.labels[label]
    if label in card.labels:
        return str(label)
    known = ", ".join(f"{i} {name}" for i, name in enumerate(card.labels))
    raise Declined(400, f"label {label!r}: the classes are {known}")


async def answering_card(node: Node, request_id: str) -> Card:
    """Return the card whose classes a label means: of the model that answered, if it is loaded."""
    serving = node.current
    card = serving.slot.card
    previous = serving.previous
    # As a rule a new version has the classes of the old one, and nobody has to look.
    if previous is None or previous.card.labels == card.labels:
        return card
    answered_by = await node.books.answered_by(request_id)
    return previous.card if answered_by == previous.digest else card


def feedback_routes(node: Node) -> list[Route]:
    """Return the routes for labels, and for what is best labelled next."""

    async def feedback(request: Request) -> Response:
        body = await read_body(request, _LONGEST_BODY, node.settings.drain_s)
        try:
            said = msgspec.json.decode(body, type=Feedback)
        except msgspec.DecodeError as error:
            raise Declined(400, f'not {{"id": ..., "label": ...}}: {error}') from error
        card = await answering_card(node, said.id)
        counted = await node.books.label(said.id, class_name(said.label, card))
        return reply({"counted": counted})

    async def wanted(request: Request) -> Response:
        """Disagreements first: where both models agree, a label says nothing about them."""
        text = request.query_params.get("limit", "100")
        if not text.isdecimal() or not 0 < int(text) <= _MOST_ASKED:
            raise Declined(400, f"limit={text!r}: expected 1 to {_MOST_ASKED}")
        return reply({"ids": await node.books.open_disagreements(int(text))})

    return [
        Route("/feedback", feedback, methods=["POST"]),
        Route("/feedback/wanted", wanted),
    ]
