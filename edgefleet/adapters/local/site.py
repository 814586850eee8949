"""The Site port over the supervisor's HTTP API; it keeps nothing, so any driver may come and go."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Final, TypeVar

import httpx
import msgspec

from edgefleet.adapters.local.wire import (
    HoldOrder,
    Problem,
    ShadowOrders,
    UnplugOrder,
    error_of,
)
from edgefleet.documents import decode
from edgefleet.edge.contract import Digest, ShadowOrder
from edgefleet.errors import Unreachable
from edgefleet.fleet.inventory import Change, NodeView
from edgefleet.unplug import Delays

T = TypeVar("T")

_TIMEOUT: Final = httpx.Timeout(10.0, connect=2.0)
_NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Loopback speaks plain HTTP; loading the system's certificates takes longer than a call."""


class LocalSite:
    """One factory of the local fleet."""

    def __init__(self, factory: str, url: str) -> None:
        """Speak for `factory` to the supervisor at `url`."""
        self.factory = factory
        self._url = f"{url}/factories/{factory}"

    def snapshot(self, workload: str) -> tuple[NodeView, ...]:
        """Return every node of the factory as it is seen now."""
        url = f"{self._url}/snapshot"
        return _ask("GET", url, tuple[NodeView, ...], params={"workload": workload})

    def hold(self, node: str, digest: Digest, seed: str | None = None) -> None:
        """Bring a package to a node and keep it there."""
        self._order("hold", HoldOrder(node=node, digest=digest, seed=seed))

    def release_hold(self, node: str, digest: Digest) -> None:
        """Let a package go; it stays while it serves or is the shadow."""
        self._order("release-hold", HoldOrder(node=node, digest=digest))

    def apply(self, change: Change) -> None:
        """Order a change.

        Raises:
            Fenced: the factory has seen a higher epoch for the workload.
            Conflict: `was` does not hold, and `want` is not ordered either.
        """
        self._order("apply", change)

    def shadow(self, workload: str, orders: Mapping[str, ShadowOrder]) -> None:
        """Tell nodes whom to answer a sample of the requests a second time with."""
        self._order("shadow", ShadowOrders(workload=workload, orders=dict(orders)))

    @property
    def delays(self) -> Delays:
        """How long it takes until a snapshot shows a cut, and its end."""
        return Delays()

    def unplug(self, node: str, seconds: float) -> None:
        """Cut a node's link for so long, its cameras' not; 0: restore it.

        Its supervisor keeps the end on disk and restores the link by itself, also when it was
        killed and started again meanwhile.
        """
        self._order("unplug", UnplugOrder(node=node, seconds=seconds))

    def _order(self, what: str, body: object) -> None:
        _ask("POST", f"{self._url}/{what}", type(None), content=msgspec.json.encode(body))


def factories(url: str) -> tuple[str, ...]:
    """Return the names of the factories of the supervisor at `url`."""
    return _ask("GET", f"{url}/factories", tuple[str, ...])


def _ask(
    method: str,
    url: str,
    kind: type[T],
    content: bytes | None = None,
    params: Mapping[str, str] | None = None,
) -> T:
    try:
        # A connection per call: nothing to keep, nothing to close, and threads may share a site.
        # Loopback goes through no proxy, whatever the environment says.
        answer = httpx.request(
            method,
            url,
            content=content,
            params=params,
            timeout=_TIMEOUT,
            verify=_NO_TLS,
            trust_env=False,
        )
        if answer.status_code != httpx.codes.OK:
            problem = decode(answer.content, Problem)
            raise error_of(answer.status_code, problem)
        return decode(answer.content, kind)
    except (httpx.HTTPError, msgspec.MsgspecError) as error:
        message = f"supervisor at {url}: {type(error).__name__} {error}"
        raise Unreachable(message) from error
