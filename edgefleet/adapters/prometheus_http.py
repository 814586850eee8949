"""Questions to a Prometheus, or to what speaks like one: an answer, or `Unreachable` in words.

Nothing is tried again here: whoever asks knows how long it may wait. It is dialled directly (no
proxy of the environment), and never sends us elsewhere with our token.
"""

from __future__ import annotations

import http
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec
import urllib3

from edgefleet.adapters.authorities import tls_context
from edgefleet.documents import decode
from edgefleet.errors import Refused, Unreachable

_TIMEOUT: Final = urllib3.Timeout(connect=5.0, read=60.0)
_TOLD_CHARACTERS: Final = 300
_CA_SETTING: Final = "EDGEFLEET_PROMETHEUS_CA"


class Series(msgspec.Struct, frozen=True):
    """One series of an answer; a value is a time in unix seconds and a number as text."""

    metric: dict[str, str]
    value: tuple[float, str] | None = None
    values: tuple[tuple[float, str], ...] = ()


class _Data(msgspec.Struct, frozen=True):
    result: tuple[Series, ...]


class _Found(msgspec.Struct, frozen=True):
    data: _Data


class _Problem(msgspec.Struct, frozen=True):
    error: str


class PrometheusHttp:
    """One Prometheus, asked as one user."""

    def __init__(self, url: str, token: str = "", ca: Path | None = None, at_once: int = 4) -> None:
        """Ask at `url`; `ca` is the only authority then, None: the system's are. Dials nobody.

        Raises:
            Refused: the URL is none, or the CA file cannot be read.
        """
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username:
            shown = url.rpartition("@")[2]
            problem = f"{shown!r} is no address like https://host:9090"
            raise Refused("EDGEFLEET_PROMETHEUS_URL", problem, "A token goes into a setting of its")
        self.host = parts.netloc
        self._url = f"{url.rstrip('/')}/api/v1/query"
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._client = urllib3.PoolManager(
            maxsize=at_once,
            timeout=_TIMEOUT,
            retries=False,
            ssl_context=tls_context(ca, _CA_SETTING) if parts.scheme == "https" else None,
        )

    def ask(self, query: str, at: float) -> tuple[Series, ...]:
        """Return the series that a query finds, looked at from a time (unix seconds).

        Raises:
            Unreachable: no answer, an error, or something else than an answer.
        """
        try:
            answer = self._client.request(
                "POST",
                self._url,
                fields={"query": query, "time": f"{at:.3f}"},
                encode_multipart=False,
                headers=self._headers,
                redirect=False,
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._unreachable(f"{type(error).__name__}: {error}") from error
        if answer.status != http.HTTPStatus.OK:
            raise self._unreachable(f"HTTP {answer.status}{_told(answer.status, answer.data)}")
        try:
            return decode(answer.data, _Found).data.result
        except msgspec.MsgspecError as error:
            raise self._unreachable(f"it answered no Prometheus: {error}") from error

    def _unreachable(self, problem: str) -> Unreachable:
        return Unreachable(f"prometheus {self.host} gave no evidence: {problem}")


def _told(status: int, body: bytes) -> str:
    """Return what an answer that is none says, and what to do about it."""
    try:
        words = f": {decode(body, _Problem).error[:_TOLD_CHARACTERS]}"
    except msgspec.MsgspecError:
        words = ""
    if status in {http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.FORBIDDEN}:
        words += " (check EDGEFLEET_PROMETHEUS_TOKEN)"
    return words
