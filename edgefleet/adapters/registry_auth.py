"""Who asks: what a registry wants to see, learned from its own answers (WWW-Authenticate).

The first request goes out bare. A registry that answers 401 says how to log in: `Basic`, or
`Bearer` with the server that gives tokens; a token is kept per scope until it expires. The password
is sent to the registry and to the token server it names, and never by plain http where the registry
itself is reached by TLS. It is in no message.
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Final

import httpx
import msgspec

from edgefleet.documents import decode
from edgefleet.errors import Refused

SCOPE: Final = "edgefleet.scope"
"""Extension of a request: what its token has to allow, e.g. `repository:a/packages:pull,push`."""
LOGIN_SETTINGS: Final = "EDGEFLEET_REGISTRY_USER and EDGEFLEET_REGISTRY_PASSWORD"
_LIFETIME_S: Final = 60.0
"""Of a token that says nothing of it: the token specification's own default."""
_MARGIN_S: Final = 5.0
_WORD: Final = re.compile(r"[\w-]+")
_PARAMETER: Final = re.compile(r'(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')


@dataclass(frozen=True, slots=True)
class Login:
    """A name and its password."""

    user: str
    password: str = field(repr=False)


class _Token(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of a token server; older ones say `token`, OAuth 2.0 says `access_token`."""

    token: str = ""
    access_token: str = ""
    expires_in: float = _LIFETIME_S


def challenges(header: str) -> dict[str, dict[str, str]]:
    """Return what a WWW-Authenticate header asks for: parameters by scheme, in lower case."""
    found: dict[str, dict[str, str]] = {}
    scheme = ""
    position = 0
    while position < len(header):
        parameter = _PARAMETER.match(header, position)
        word = _WORD.match(header, position)
        if parameter and scheme:
            name, quoted, plain = parameter.groups()
            found[scheme][name.lower()] = re.sub(r"\\(.)", r"\1", quoted or "") or plain or ""
            position = parameter.end()
        elif word:
            scheme = word.group().lower()
            found.setdefault(scheme, {})
            position = word.end()
        else:
            position += 1
    return found


class RegistryAuth(httpx.Auth):
    """Answers a registry's challenges; safe for threads, which at worst ask for a token twice."""

    def __init__(self, login: Login | None, now: Callable[[], float] = time.monotonic) -> None:
        """Log in as `login`; None: as nobody."""
        self._login = login
        self._now = now
        self._basic = False
        self._tokens: dict[str, tuple[str, float]] = {}

    def sync_auth_flow(
        self, request: httpx.Request
    ) -> Generator[httpx.Request, httpx.Response, None]:
        """Send a request with what is known, and once more with what the answer asks for."""
        scope = str(request.extensions.get(SCOPE, ""))
        self._sign(request, scope)
        answer = yield request
        if answer.status_code != httpx.codes.UNAUTHORIZED:
            return
        asked = challenges(", ".join(answer.headers.get_list("www-authenticate")))
        answer.read()
        if "bearer" in asked:
            order = self._order(request, asked["bearer"], scope)
            given = yield order
            given.read()
            self._tokens[scope] = self._token(order, given)
        elif "basic" in asked and self._login is not None:
            self._basic = True
        else:
            return
        self._sign(request, scope)
        yield request

    def _sign(self, request: httpx.Request, scope: str) -> None:
        token, expires = self._tokens.get(scope, ("", 0.0))
        if self._now() < expires:
            request.headers["Authorization"] = f"Bearer {token}"
        elif self._basic and self._login is not None:
            request.headers["Authorization"] = _basic(self._login)
        else:
            request.headers.pop("Authorization", None)

    def _order(self, request: httpx.Request, asked: dict[str, str], scope: str) -> httpx.Request:
        host = request.url.netloc.decode()
        try:
            realm = httpx.URL(asked.get("realm", ""))
        except httpx.InvalidURL:
            realm = httpx.URL("")
        if realm.scheme not in {"http", "https"}:
            problem = f"asks for a token from {str(realm)!r}, which is no address"
            raise Refused(f"registry {host}", problem, "Correct the realm it is configured with")
        if request.url.scheme == "https" and realm.scheme != "https":
            problem = f"sends us to {realm.host} for a token, by plain http"
            raise Refused(
                f"registry {host}", problem, "Give its token server TLS: no password sent"
            )
        # Our scope before the challenge's: that one may be enough for this request only, and the
        # token is kept for all of the scope.
        wanted = [("service", asked["service"])] if "service" in asked else []
        wanted += [("scope", one) for one in (scope or asked.get("scope", "")).split()]
        headers = {"Authorization": _basic(self._login)} if self._login else {}
        query = httpx.QueryParams([*realm.params.multi_items(), *wanted])
        return httpx.Request(
            "GET", realm.copy_with(params=query), headers=headers, extensions=request.extensions
        )

    def _token(self, order: httpx.Request, answer: httpx.Response) -> tuple[str, float]:
        subject = f"token server {order.url.netloc.decode()}"
        if answer.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
            who = user(self._login)
            problem = f"gives {who} no token (HTTP {answer.status_code})"
            raise Refused(subject, problem, f"Check {LOGIN_SETTINGS}")
        # A busy or broken one is tried again by the transport, as the registry itself would be.
        answer.raise_for_status()
        try:
            given = decode(answer.content, _Token)
        except msgspec.DecodeError as error:
            raise Refused(subject, f"answered no token: {error}", "Check its address") from error
        expires = self._now() + given.expires_in - _MARGIN_S
        return given.token or given.access_token, expires


def user(login: Login | None) -> str:
    """Return who is logged in, for a message."""
    return f"user {login.user!r}" if login else "an anonymous user"


def _basic(login: Login) -> str:
    pair = base64.b64encode(f"{login.user}:{login.password}".encode()).decode()
    return f"Basic {pair}"
