"""Who the workers of factories are: a token for each, of which only a hash is kept.

A token has 256 random bits, so that a plain hash of it gives nothing away.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from pathlib import Path

import msgspec

from edgefleet.errors import Refused


class Known(msgspec.Struct, frozen=True):
    """One factory."""

    pool: str
    """The work pool that its worker may reach."""
    sha256: str
    """Of its token."""


class Tokens:
    """A file of tokens; changed by commands, read for each call, so that changes hold at once."""

    def __init__(self, home: Path) -> None:
        """Name the file; nothing is read."""
        self._file = home / "proxy-tokens.json"

    def issue(self, factory: str, pool: str) -> str:
        """Return a new token, in place of the factory's old one."""
        token = secrets.token_urlsafe(32)
        self._write({**self._read(), factory: Known(pool, _hash(token))})
        return token

    def revoke(self, factory: str) -> None:
        """Let the factory's token open nothing any more.

        Raises:
            Refused: it has none.
        """
        known = self._read()
        if factory not in known:
            listed = ", ".join(sorted(known)) or "none"
            raise Refused(factory, f"has no token (known: {listed})", "Name one of those")
        self._write({name: one for name, one in known.items() if name != factory})

    def pool_of(self, shown: str) -> str | None:
        """Return the pool for `factory:token`, None if that is no valid one."""
        factory, _, token = shown.partition(":")
        known = self._read().get(factory)
        if known is None or not hmac.compare_digest(known.sha256, _hash(token)):
            return None
        return known.pool

    def _read(self) -> Mapping[str, Known]:
        if not self._file.exists():
            return {}
        return msgspec.json.decode(self._file.read_bytes(), type=dict[str, Known])

    def _write(self, known: Mapping[str, Known]) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        draft = self._file.with_suffix(".draft")
        draft.touch(0o600)
        draft.write_bytes(msgspec.json.format(msgspec.json.encode(known)))
        draft.replace(self._file)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
