"""Calls to one API server: raw bytes, errors by class, every call counted.

The official client brings credentials, TLS and connections. Its models are left aside: decoding a
thousand pods into them costs a driver seconds each time.
"""

from __future__ import annotations

import http
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import urllib3
from kubernetes import config
from kubernetes.client import ApiClient
from kubernetes.client.rest import ApiException
from urllib3.connection import HTTPConnection

from edgefleet.adapters.kubernetes.objects import Problem
from edgefleet.adapters.kubernetes.owners import Owned, owners
from edgefleet.documents import decode
from edgefleet.errors import Conflict, Fenced, Refused, Unreachable
from edgefleet.fleet.manifest_names import MANAGER

_APPLY: Final = "application/apply-patch+yaml"
_MERGE: Final = "application/merge-patch+json"
POLICY: Final = "edgefleet-epoch"
"""How the names of our admission policies begin, and so their refusals."""
_CONNECT_S: Final = 3.0
_READ_S: Final = 20.0
_TRIES: Final = 3
_LONGEST_PAUSE_S: Final = 30.0
_ALIVE: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
)
"""A watch says nothing for minutes: whether the other end is still there is asked by TCP."""


class Absent(Exception):
    """There is no such object."""


class Broken(Unreachable):
    """A watch that was open has ended unasked; it may be taken up where it was."""


class Api:
    """One API server; threads may share it."""

    def __init__(self, name: str, client: ApiClient) -> None:
        """Speak by `client`; `name` is how messages call the cluster."""
        self.name = name
        self.calls: Counter[str] = Counter()
        """By verb and kind as roles name them, `patch deployments`; tries that failed too."""
        self._client = client
        self._lock = threading.Lock()

    @classmethod
    def of_context(cls, name: str, kubeconfig: Path | None, context: str | None) -> Api:
        """Return the API of a kubeconfig's context (None: the file's, the current one).

        Raises:
            Refused: the file or the context is not there, or cannot be read.
        """
        try:
            client = config.new_client_from_config(
                config_file=str(kubeconfig) if kubeconfig else None, context=context
            )
        except (config.ConfigException, OSError) as error:
            raise Refused(
                name, f"kubeconfig: {error}", "Name a file and a context of it"
            ) from error
        client.configuration.retries = False
        pools = client.rest_client.pool_manager.connection_pool_kw
        pools["socket_options"] = [*HTTPConnection.default_socket_options, *_ALIVE]
        return cls(name, client)

    def get(self, path: str, query: Mapping[str, str] | None = None) -> bytes:
        """Return what is at a path.

        Raises:
            Absent: nothing is there.
            Unreachable: no answer, or none but excuses.
            Refused: we may not.
        """
        return self._call("GET", path, query or {}, None, "")

    def annotate(self, path: str, notes: Mapping[str, str], version: str) -> bytes:
        """Set annotations of an object that nobody has written since `version`; return it.

        Raises:
            Conflict: somebody has.
            Fenced, Unreachable, Refused: as `apply`.
        """
        body = {"metadata": {"annotations": dict(notes), "resourceVersion": version}}
        return self._call("PATCH", path, {"fieldManager": MANAGER}, body, _MERGE)

    def apply(self, path: str, body: Mapping[str, Any]) -> bytes:
        """Apply on the server's side as our field manager; return the object.

        Raises:
            Owned: somebody else owns a field that differs.
            Conflict: the resourceVersion is old.
            Fenced: the admission policy saw a higher epoch.
            Unreachable: as `get`.
            Refused: we may not, or the server finds the object wrong.
        """
        try:
            return self._apply(path, body, force=False)
        except Owned as conflict:
            # Force would overwrite whoever writes between these two: the version forbids that.
            if conflict.owners != {MANAGER} or "resourceVersion" not in body["metadata"]:
                raise
        # `annotate` wrote it: ours, but to the server an update's, which no apply may change.
        return self._apply(path, body, force=True)

    def _apply(self, path: str, body: Mapping[str, Any], *, force: bool) -> bytes:
        query = {"fieldManager": MANAGER, "force": json.dumps(force)}
        return self._call("PATCH", path, query, dict(body), _APPLY)

    def delete(self, path: str) -> None:
        """Delete in the background; nothing happens when it is gone.

        Raises:
            Unreachable: as `get`.
            Refused: we may not.
        """
        try:
            self._call("DELETE", path, {"propagationPolicy": "Background"}, None, "")
        except Absent:
            return

    def lines(self, path: str, query: Mapping[str, str], idle_s: float) -> Iterator[bytes]:
        """Yield an empty line once a watch is open, then its lines as they come.

        Raises:
            Broken: the connection broke, or nothing came for `idle_s`.
            Unreachable: as `get`.
            Absent: the resourceVersion has expired (410).
            Refused: we may not.
        """
        response = self._once("GET", path, {**query, "watch": "true"}, None, "", idle_s)
        if response.status != http.HTTPStatus.OK:
            raise self._error(response.status, response.read(), path)
        begun = b""
        try:
            yield b""
            for part in response.stream(1 << 16, decode_content=True):
                *whole, begun = (begun + part).split(b"\n")
                yield from whole
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Broken(f"{self.name}: watch of {path}: {error}") from error
        finally:
            response.close()

    def _call(
        self, method: str, path: str, query: Mapping[str, str], body: Any, kind: str
    ) -> bytes:
        problem: Exception = Unreachable(self.name)
        for number in range(_TRIES):
            pause = 0.5 * 2**number
            try:
                response = self._once(method, path, query, body, kind, _READ_S)
                content: bytes = response.read()
            except Unreachable as error:
                problem = error
            except (urllib3.exceptions.HTTPError, OSError) as error:
                problem = Unreachable(f"{self.name}: {method} {path}: {error}")
            else:
                if response.status < http.HTTPStatus.BAD_REQUEST:
                    return content
                problem = self._error(response.status, content, path)
                if not isinstance(problem, Unreachable):
                    raise problem
                pause = _stated_pause(response.headers.get("Retry-After"), pause)
            if number + 1 < _TRIES:
                time.sleep(pause)
        raise problem

    def _once(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Any,
        kind: str,
        read_s: float,
    ) -> urllib3.HTTPResponse:
        watch = query.get("watch") == "true"
        with self._lock:
            self.calls[f"{_verb(method, path, watch=watch)} {_kind_of(path)}"] += 1
        headers = {"Accept": "application/json"}
        if kind:
            headers["Content-Type"] = kind
        _, url, headers, _, _ = self._client.param_serialize(
            method,
            path,
            query_params=list(query.items()),
            header_params=headers,
            auth_settings=["BearerToken"],
        )
        content = None if body is None else json.dumps(body).encode()
        try:
            response: urllib3.HTTPResponse = self._client.rest_client.pool_manager.request(
                method,
                url,
                body=content,
                headers=headers,
                timeout=urllib3.Timeout(connect=_CONNECT_S, read=read_s),
                retries=False,
                preload_content=False,
            )
        except (urllib3.exceptions.HTTPError, ApiException, OSError) as error:
            raise Unreachable(f"{self.name}: {method} {path}: {error}") from error
        return response

    def _error(self, status: int, content: bytes, path: str) -> Exception:  # noqa: PLR0911 - a table
        problem = _problem(content)
        said = " ".join(problem.message.split())  # it may have a line for each field
        text = f"{self.name}: {path}: {status} {said}"
        if POLICY in said:
            return Fenced(text)
        match status:
            case http.HTTPStatus.NOT_FOUND | http.HTTPStatus.GONE:
                return Absent(text)
            case http.HTTPStatus.CONFLICT:
                others = owners(problem)
                return Owned(text, others) if others else Conflict(text)
            case http.HTTPStatus.UNAUTHORIZED | http.HTTPStatus.FORBIDDEN if not self._settled():
                return Unreachable(text)
            case http.HTTPStatus.UNAUTHORIZED:
                return Refused(self.name, f"{path}: {said}", "Renew the kubeconfig's credentials")
            case http.HTTPStatus.FORBIDDEN:
                return Refused(self.name, said, "Grant the kubeconfig's user what is missing")
            case http.HTTPStatus.TOO_MANY_REQUESTS:
                return Unreachable(text)
        if status >= http.HTTPStatus.INTERNAL_SERVER_ERROR:
            return Unreachable(text)
        return Refused(self.name, f"{path}: {status} {said}", "Report it with this message")

    def _settled(self) -> bool:
        """Say whether the server is ready: one that has just started knows no roles yet."""
        try:
            answer = self._once("GET", "/readyz", {}, None, "", _CONNECT_S)
        except Unreachable:
            return False
        answer.drain_conn()
        return bool(answer.status == http.HTTPStatus.OK)


def _problem(content: bytes) -> Problem:
    try:
        return decode(content, Problem)
    except msgspec.MsgspecError:
        return Problem(message=content[:300].decode(errors="replace"))


def _stated_pause(stated: str | None, otherwise: float) -> float:
    if stated is None or not stated.isdecimal():
        return otherwise
    return min(float(stated), _LONGEST_PAUSE_S)


def _verb(method: str, path: str, *, watch: bool) -> str:
    """Return the verb as roles name it."""
    if watch:
        return "watch"
    if method == "GET" and path.endswith(f"/{_kind_of(path)}"):
        return "list"
    return method.lower()


def _kind_of(path: str) -> str:
    """Return the plural in a path: /apis/apps/v1/namespaces/x/deployments/y -> deployments."""
    parts = path.strip("/").split("/")
    after = parts.index("namespaces") + 2 if "namespaces" in parts[:-2] else 0
    begin = after or (2 if parts[0] == "api" else 3)
    return parts[min(begin, len(parts) - 1)]
