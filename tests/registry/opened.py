"""A registry's adapter as a test wants it: closed at the end, pauses counted and not waited."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from edgefleet.adapters.registry import Registry
from edgefleet.adapters.registry_auth import Login, RegistryAuth
from edgefleet.adapters.registry_http import RegistryHttp, dial


@contextmanager
def opened(
    url: str,
    prefix: str = "line",
    *,
    login: Login | None = None,
    ca: Path | None = None,
    seen: Callable[[httpx.Request], None] | None = None,
    now: Callable[[], float] = time.monotonic,
    chunk_bytes: int = 1 << 20,
) -> Iterator[Registry]:
    """Yield the adapter; `seen` is called with every request before it goes out."""
    address = httpx.URL(url)
    client = dial(address, ca)
    if seen is not None:
        client.event_hooks["request"].append(seen)
    registry = Registry(
        RegistryHttp(client, address, login, lambda _: None, RegistryAuth(login, now)),
        prefix,
        chunk_bytes=chunk_bytes,
    )
    try:
        yield registry
    finally:
        registry.close()
