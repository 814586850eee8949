"""A QA station: knows what each part truly is, and answers when the node asks for a label.

A label that does not reach the node is sent again a few times; unlike an image it can wait. Each
call has its own connection: an idle one would only hold up a server that drains.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import aiohttp
import msgspec

_REMEMBERED: Final = 5000
"""Parts; older ones have left the station."""
_TRIES: Final = 4


class _Wanted(msgspec.Struct, frozen=True):
    ids: tuple[str, ...]


class Station:
    """One node's."""

    def __init__(
        self, session: aiohttp.ClientSession, url: Callable[[], str], delay_s: float
    ) -> None:
        """Label over `session`, `delay_s` after a part was seen."""
        self._session = session
        self._url = url
        self._delay_s = delay_s
        self._truth: OrderedDict[str, str] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self.sent = 0

    def saw(self, request_id: str, label: str, *, wanted: bool) -> None:
        """Remember a part that was judged; `wanted`: the node asks for its label."""
        self._truth[request_id] = label
        if len(self._truth) > _REMEMBERED:
            self._truth.popitem(last=False)
        if wanted:
            self._answer(request_id)

    async def look_at_disagreements(self) -> None:
        """Label what the node would most like to know."""
        try:
            async with self._session.get(f"{self._url()}/feedback/wanted") as answer:
                wanted = msgspec.json.decode(await answer.read(), type=_Wanted)
        except (aiohttp.ClientError, TimeoutError, msgspec.MsgspecError):
            return  # asked again soon
        for request_id in wanted.ids:
            if request_id in self._truth:
                self._answer(request_id)

    async def close(self) -> None:
        """Drop the labels that are still on their way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _answer(self, request_id: str) -> None:
        label = self._truth.pop(request_id)
        task = asyncio.create_task(self._send(request_id, label))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, request_id: str, label: str) -> None:
        body = msgspec.json.encode({"id": request_id, "label": label})
        for _ in range(_TRIES):
            await asyncio.sleep(self._delay_s)
            try:
                async with self._session.post(f"{self._url()}/feedback", data=body) as answer:
                    if answer.status < 500:  # noqa: PLR2004 - HTTP: a 4xx will not get better
                        self.sent += answer.ok
                        return
            except (aiohttp.ClientError, TimeoutError):
                continue
