"""The second opinion: a sample of the requests is answered again by a reference model.

Which one, and how many, says an order file that the supervisor replaces; it is looked at when its
time of change differs. The reference runs in a thread of its own after the answer has been sent. If
it cannot keep up, requests are left out, by load and never by what the answer was: the sample
stays fair.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec

from edgefleet.edge.contract import Digest, ShadowOrder
from edgefleet.edge.slots import Slot, Tensor

_MOST_WAITING: Final = 4
_NO_ORDER: Final = ShadowOrder(against="none")

logger = logging.getLogger(__name__)


class Shadow:
    """The reference of one serving slot; all methods belong to the event loop's thread."""

    def __init__(self, serving: Slot, previous: Slot | None, order_file: Path | None) -> None:
        self._references: dict[str, Slot | None] = {"self": serving, "previous": previous}
        self._order_file = order_file
        self._seen: tuple[int, int] | None = None
        self._order = _NO_ORDER
        self._waiting = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="shadow")
        self.refresh()

    @property
    def digest(self) -> Digest | None:
        """Whom requests are answered with a second time; None: nobody."""
        reference = self._reference()
        return reference.digest if reference else None

    def refresh(self) -> None:
        """Read the order file if it changed; a broken or missing one means: no shadow."""
        if self._order_file is None:
            return
        try:
            status = self._order_file.stat()
            seen = (status.st_mtime_ns, status.st_ino)
            if seen == self._seen:
                return
            self._seen = seen
            self._order = msgspec.json.decode(self._order_file.read_bytes(), type=ShadowOrder)
        except FileNotFoundError:
            self._seen, self._order = None, _NO_ORDER
        except (OSError, msgspec.DecodeError) as error:
            logger.warning("shadow order %s: %s: no shadow until it changes", seen, error)
            self._order = _NO_ORDER

    def wants(self, draw: float) -> bool:
        """Say whether a request with this draw is to be answered twice."""
        return draw < self._order.rate and self._reference() is not None

    def ask(self, batch: Tensor, then: Callable[[str | None, float], None]) -> None:
        """Answer one request again, then call `then(label, seconds)` on the event loop.

        The label is None when too many wait or the reference failed.
        """
        reference = self._reference()
        if reference is None or self._waiting >= _MOST_WAITING:
            then(None, 0.0)
            return
        self._waiting += 1
        loop = asyncio.get_running_loop()

        def done(label: str | None, seconds: float) -> None:
            self._waiting -= 1
            then(label, seconds)

        def work() -> None:
            try:
                label, seconds = _answer(reference, batch)
            except Exception:  # whatever the runtime raises: no opinion is an allowed outcome
                logger.exception("shadow %s did not answer", reference.digest)
                label, seconds = None, 0.0
            loop.call_soon_threadsafe(done, label, seconds)

        self._thread.submit(work)

    def close(self) -> None:
        """Let go of the references: nobody is answered twice any more."""
        self._references = {}
        self._thread.shutdown(wait=False)

    @property
    def waiting(self) -> int:
        """Requests that the reference has not answered yet."""
        return self._waiting

    def _reference(self) -> Slot | None:
        return self._references.get(self._order.against)


def _answer(reference: Slot, batch: Tensor) -> tuple[str, float]:
    start = time.perf_counter()
    outputs = reference.run(batch)
    seconds = time.perf_counter() - start
    return reference.card.labels[int(outputs[0].argmax())], seconds
