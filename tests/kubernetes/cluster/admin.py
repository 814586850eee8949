"""An administrator of a control plane, on connections that are kept: for many calls at once."""

from __future__ import annotations

import http
import json
from typing import Any

from tests.kubernetes.cluster.control_plane import ControlPlane
from tests.kubernetes.cluster.given import GivenPlane

Plane = ControlPlane | GivenPlane
_MERGE = "application/strategic-merge-patch+json"


class Admin:
    """May do anything; threads may share it."""

    def __init__(self, plane: Plane) -> None:
        self.plane = plane
        self._pool = plane.connections(maxsize=8, timeout=20, retries=False)

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Return what the API server answers; RuntimeError with its words when it refuses."""
        return self._ask(method, path, body, "application/json")

    def patch(self, path: str, body: object) -> Any:
        """Change parts of an object; RuntimeError as `ask`."""
        return self._ask("PATCH", path, body, _MERGE)

    def found(self, path: str) -> bool:
        """Say whether there is something at a path."""
        url = self.plane.url + path
        return self._pool.request("GET", url).status == http.HTTPStatus.OK

    def ready_nodes(self) -> int:
        """Return how many nodes are Ready."""
        nodes = self.ask("GET", "/api/v1/nodes?resourceVersion=0")["items"]
        return sum(
            any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
            for conditions in (node["status"].get("conditions", ()) for node in nodes)
        )

    def close(self) -> None:
        self._pool.clear()

    def _ask(self, method: str, path: str, body: object, kind: str) -> Any:
        answer = self._pool.request(
            method,
            self.plane.url + path,
            body=None if body is None else json.dumps(body).encode(),
            headers={**self._pool.headers, "Content-Type": kind},
        )
        if answer.status >= http.HTTPStatus.BAD_REQUEST:
            raise RuntimeError(f"{method} {path}: {answer.status} {answer.data[:500]!r}")
        return json.loads(answer.data)
