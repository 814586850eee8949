"""A hook before and after every call of a port, so that a test can kill the driver there.

The hook gets "before" or "after" and the call's name (`MemorySite.apply`); what it raises goes
through. "After" means that the call's effect holds but its answer never reached the caller.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar, cast

Hook = Callable[[str, str], None]
Port = TypeVar("Port")


class _Watched:
    """Stands in front of a port; everything that is not a method passes untouched."""

    def __init__(self, port: object, hook: Hook) -> None:
        self._port = port
        self._hook = hook

    def __getattr__(self, name: str) -> object:
        found: object = getattr(self._port, name)
        if not callable(found):
            return found
        call = f"{type(self._port).__name__}.{name}"

        @wraps(found)
        def watched_call(*args: object, **kwargs: object) -> object:
            self._hook("before", call)
            answer: object = found(*args, **kwargs)
            self._hook("after", call)
            return answer

        return watched_call


def watched(port: Port, hook: Hook) -> Port:
    """Return `port` with `hook` around each of its calls."""
    return cast("Port", _Watched(port, hook))
