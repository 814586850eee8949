"""Typed JSON documents, read by any thread.

msgspec (0.22) builds what it knows of a type when that type is first decoded, and two threads that
do so at the same moment crash the process: one sees the half-built description of the other. Here
one thread builds it, under a lock, and keeps it.
"""

from __future__ import annotations

import threading
from typing import Any, Final, TypeVar

import msgspec

T = TypeVar("T")

_decoders: Final[dict[Any, msgspec.json.Decoder[Any]]] = {}
_building: Final = threading.Lock()


def decode(body: bytes | str, form: type[T]) -> T:
    """Return the value of type `form` that `body` holds.

    Raises:
        msgspec.MsgspecError: it is no JSON, or not of that type.
    """
    known = _decoders.get(form)
    if known is None:
        with _building:
            known = _decoders.setdefault(form, msgspec.json.Decoder(form))
    decoded: T = known.decode(body)
    return decoded
