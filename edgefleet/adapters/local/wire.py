"""What LocalSite and the supervisor say to each other: domain types as JSON, errors by class."""

from __future__ import annotations

from typing import Final

import msgspec

from edgefleet.edge.contract import Digest, ShadowOrder
from edgefleet.errors import Conflict, EdgefleetError, Fenced, Refused, Unreachable

STATUS: Final[dict[type[EdgefleetError], int]] = {
    Conflict: 409,
    Fenced: 412,
    Refused: 422,
    Unreachable: 503,
}


class HoldOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Body of POST hold and POST release-hold."""

    node: str
    digest: Digest
    seed: str | None = None


class ShadowOrders(msgspec.Struct, frozen=True, kw_only=True):
    """Body of POST shadow."""

    workload: str
    orders: dict[str, ShadowOrder]


class UnplugOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Body of POST unplug."""

    node: str
    seconds: float


class Camera(msgspec.Struct, frozen=True, kw_only=True):
    """One line of GET /plant: what a camera must know of its node."""

    factory: str
    node: str
    workload: str
    url: str
    changing: bool
    """A server is being replaced: from a lead before its start to the end of the old one."""
    ready: bool
    wanted: bool
    """Whether anything is ordered to serve: a node that was told to stop has no gap."""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """An error's parts."""

    message: str
    subject: str = ""
    problem: str = ""
    remedy: str = ""


def problem_of(error: EdgefleetError) -> Problem:
    """Return what to send of an error."""
    if isinstance(error, Refused):
        return Problem(
            message=str(error), subject=error.subject, problem=error.problem, remedy=error.remedy
        )
    return Problem(message=str(error))


def error_of(status: int, problem: Problem) -> EdgefleetError:
    """Return the error that was sent."""
    if status == STATUS[Refused]:
        return Refused(problem.subject, problem.problem, problem.remedy)
    for kind, code in STATUS.items():
        if code == status:
            return kind(problem.message)
    return Unreachable(f"the supervisor answered {status}: {problem.message}")
