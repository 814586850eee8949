"""Requests to one registry: what may be tried again is, what cannot work is refused in words.

Connection errors, timeouts, 429 and 5xx are tried a few times, as long as `Retry-After` asks for
and no longer than a bound; then it is `Unreachable`. 401 and 403 name the user and the repository.
What is read is bounded. The registry is dialled directly (no proxy of the environment), a
certificate is checked against one private CA file or the system's authorities, and a registry that
is reached by TLS cannot send us to plain http. No message holds a query string, a header or a
password.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final

import httpx
import msgspec

from edgefleet.adapters.authorities import tls_context
from edgefleet.adapters.registry_auth import LOGIN_SETTINGS, SCOPE, Login, RegistryAuth, user
from edgefleet.documents import decode
from edgefleet.errors import Refused, Unreachable

MANIFEST_BYTES: Final = 4 << 20
"""The distribution specification's own limit of a manifest."""
_PAUSES_S: Final = (0.5, 1.0, 2.0)
_LONGEST_S: Final = 30.0
_TIMEOUT: Final = httpx.Timeout(60.0, connect=5.0)
_BUSY: Final = httpx.codes.TOO_MANY_REQUESTS
_SERVER: Final = httpx.codes.INTERNAL_SERVER_ERROR


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    status: int
    headers: httpx.Headers
    content: bytes


@dataclass(frozen=True, slots=True)
class _Trouble:
    """An answer that is none, yet."""

    problem: str
    wait_s: float = 0.0
    untouched: bool = False
    """The registry did nothing for the request: even one that appends may be sent again."""


class _Error(msgspec.Struct, frozen=True, kw_only=True):
    code: str = ""
    message: str = ""


class _Errors(msgspec.Struct, frozen=True, kw_only=True):
    errors: tuple[_Error, ...] = ()


def dial(url: httpx.URL, ca: Path | None = None) -> httpx.Client:
    """Return a client for a registry; `ca` is the only authority then, None: the system's are.

    Raises:
        Refused: the CA file is missing or holds no certificate.
    """
    if url.scheme == "http":
        # Never used, and cheap: httpx would load all authorities of the system.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    else:
        context = tls_context(ca, "EDGEFLEET_REGISTRY_CA")
    # Blobs are compared byte for byte: nobody on the way shall pack them.
    headers = {"Accept-Encoding": "identity", "User-Agent": "edgefleet"}
    return httpx.Client(trust_env=False, verify=context, timeout=_TIMEOUT, headers=headers)


class RegistryHttp:
    """One registry, asked as one user."""

    def __init__(
        self,
        client: httpx.Client,
        url: httpx.URL,
        login: Login | None = None,
        sleep: Callable[[float], None] = time.sleep,
        auth: RegistryAuth | None = None,
    ) -> None:
        """Ask through `client`; nothing is dialled yet."""
        self.host = url.netloc.decode()
        self._client = client
        self._root = httpx.URL(scheme=url.scheme, host=url.host, port=url.port)
        self._login = login
        self._auth = auth or RegistryAuth(login)
        self._sleep = sleep

    def close(self) -> None:
        """Let the connections go."""
        self._client.close()

    def ask(
        self,
        method: str,
        path: str,
        scope: str,
        *,
        content: bytes | memoryview = b"",
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        limit: int = MANIFEST_BYTES,
        again: bool = True,
        allowed: tuple[int, ...] = (404,),
    ) -> Answer:
        """Return the answer: 2xx, or one of the `allowed`.

        `path` is a path, or the address that an earlier answer named. `again`: the request may
        reach the registry twice.

        Raises:
            Refused: the registry does not let us, or calls the request wrong.
            Unreachable: no answer, or only that it is busy or broken.
        """
        url = self._within(path)
        url = url.copy_merge_params(params) if params else url
        request = self._client.build_request(
            method,
            url,
            content=bytes(content) if content else None,
            headers=headers,
            extensions={SCOPE: scope},
        )
        pauses_s = iter(_PAUSES_S)
        while isinstance(answer := self._once(request, limit), _Trouble):
            pause_s = next(pauses_s, None)
            hopeless = answer.wait_s > _LONGEST_S or not (again or answer.untouched)
            if pause_s is None or hopeless:
                subject = f"registry {self.host}: {method} {request.url.path}"
                raise Unreachable(f"{subject} failed: {answer.problem}")
            self._sleep(max(pause_s, answer.wait_s))
        self._check(answer, request, scope, allowed)
        return answer

    def _once(self, request: httpx.Request, limit: int) -> Answer | _Trouble:
        try:
            response = self._client.send(
                request, stream=True, auth=self._auth, follow_redirects=request.method == "GET"
            )
            try:
                answer = Answer(
                    response.status_code, response.headers, self._read(response, request, limit)
                )
            finally:
                response.close()
        except httpx.HTTPStatusError as error:
            # Of the token server.
            where = f"token server {error.request.url.netloc.decode()}"
            answer = Answer(error.response.status_code, error.response.headers, b"")
            return _trouble(answer) or _Trouble(f"{where} answered HTTP {answer.status}")
        except httpx.HTTPError as error:
            self._refuse_tls(error)
            return _Trouble(f"{type(error).__name__} {error}".strip())
        return _trouble(answer) or answer

    def _read(self, response: httpx.Response, request: httpx.Request, limit: int) -> bytes:
        if request.url.scheme == "https" and response.url.scheme != "https":
            raise Refused(
                f"registry {self.host}",
                f"sends us to {response.url.host} for {request.url.path}, by plain http",
                "Give its storage an https address",
            )
        parts, size = [], 0
        for part in response.iter_bytes():
            size += len(part)
            if size > limit:
                problem = f"sent more than the {limit} bytes that {request.url.path} has"
                raise Refused(f"registry {self.host}", problem, "Look at what answers there")
            parts.append(part)
        return b"".join(parts)

    def _check(
        self, answer: Answer, request: httpx.Request, scope: str, allowed: tuple[int, ...]
    ) -> None:
        if answer.status // 100 == 2 or answer.status in allowed:  # noqa: PLR2004 - the class
            return
        subject, found = f"registry {self.host}", _told(answer)
        _, repository, actions = (scope.split() or ["::"])[0].split(":")
        lacks = "insufficient_scope" in answer.headers.get("www-authenticate", "")
        if answer.status == httpx.codes.FORBIDDEN or lacks:
            problem = f"{user(self._login)} may not {actions} in repository {repository} ({found})"
            raise Refused(subject, problem, f"Give that right, or change {LOGIN_SETTINGS}")
        if answer.status == httpx.codes.UNAUTHORIZED:
            problem = f"refuses {user(self._login)} for repository {repository} ({found})"
            raise Refused(subject, problem, f"Check {LOGIN_SETTINGS}")
        problem = f"refuses {request.method} {request.url.path} ({found})"
        raise Refused(subject, problem, "Look at EDGEFLEET_REGISTRY_URL and the registry's log")

    def _within(self, path: str) -> httpx.URL:
        """Return an address of this registry: our requests carry a token that is for it alone."""
        url = self._root.join(path)
        if (url.scheme, url.netloc) != (self._root.scheme, self._root.netloc):
            problem = f"wants an upload at {url.scheme}://{url.netloc.decode()}"
            raise Refused(
                f"registry {self.host}", problem, "Configure the address that clients know it by"
            )
        return url

    def _refuse_tls(self, error: BaseException) -> None:
        """Refuse what no second try mends: a certificate of another authority, or no TLS at all."""
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, ssl.SSLCertVerificationError):
                raise Refused(
                    f"registry {self.host}",
                    f"its certificate is not trusted: {cause.verify_message}",
                    "Name its CA in EDGEFLEET_REGISTRY_CA",
                ) from error
            if isinstance(cause, ssl.SSLError) and cause.reason == "WRONG_VERSION_NUMBER":
                raise Refused(
                    f"registry {self.host}",
                    "does not speak TLS",
                    "Give it a certificate, or write http:// in EDGEFLEET_REGISTRY_URL",
                ) from error
            cause = cause.__cause__ or cause.__context__


def _trouble(answer: Answer) -> _Trouble | None:
    if answer.status == _BUSY:
        wait_s = _wait_s(answer.headers.get("retry-after", ""))
        return _Trouble(f"{_told(answer)}, wait {wait_s:.0f} s", wait_s, untouched=True)
    if answer.status >= _SERVER:
        return _Trouble(_told(answer), _wait_s(answer.headers.get("retry-after", "")))
    return None


def _wait_s(text: str) -> float:
    """Return what Retry-After asks for: seconds, or a date; anything else asks for nothing."""
    if text.strip().isdigit():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0


def _told(answer: Answer) -> str:
    """Return the status, and the first error that the body tells of."""
    try:
        errors = decode(answer.content, _Errors).errors
    except msgspec.DecodeError:
        errors = ()
    words = f": {errors[0].code}, {errors[0].message[:200]}" if errors else ""
    return f"HTTP {answer.status}{words}"
