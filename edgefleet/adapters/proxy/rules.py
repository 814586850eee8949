"""What a factory's worker may ask Prefect for: a list of everything it needs, and nothing else.

The list is what a worker of Prefect 3.8 and its flow runs were seen to ask for. A path that names
the pool is decided here. One that names a run, a deployment or a queue is passed on once Prefect
has said that it is the pool's: what has to be proved first is part of the answer. A filter is
narrowed to the pool, whatever it asks for.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import msgspec

from edgefleet.edge.errors import Declined

_FORBIDDEN: Final = 403
_OPEN: Final = frozenset({"health", "admin/version", "admin/storage"})
"""For every factory, to be read: which versions the server has, where it keeps results."""
_OF_POOL: Final = frozenset(
    {
        ("GET", ""),
        ("PATCH", ""),
        ("POST", "/get_scheduled_flow_runs"),
        ("POST", "/queues/filter"),
        ("POST", "/workers/heartbeat"),
    }
)
_OF_THING: Final = frozenset(
    {
        ("GET", "flow_runs", ""),
        ("PATCH", "flow_runs", ""),
        ("PATCH", "flow_runs", "/labels"),
        ("POST", "flow_runs", "/set_state"),
        ("GET", "deployments", ""),
        ("GET", "flows", ""),
        ("GET", "work_queues", ""),
    }
)
_FIELDS: Final = {
    "work_pools": frozenset({"base_job_template"}),
    "flow_runs": frozenset({"infrastructure_pid", "flow_version", "empirical_policy"}),
}
"""What may be changed with PATCH: no run takes another's name, no pool is paused."""
_POOL: Final = re.compile(r"work_pools/([^/]+)(/.*)?")
_THING: Final = re.compile(r"([a-z_]+)/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(/.*)?")


@dataclass(frozen=True, slots=True)
class Proof:
    """Something that must be the pool's, by Prefect's word, before a call is passed on."""

    kind: str
    """As in its path: `flow_runs`, `deployments`, `flows`, `work_queues`."""
    id: str


@dataclass(frozen=True, slots=True)
class Passage:
    """A call as it is passed on."""

    method: str
    path: str
    """Below `/api/`, quoted."""
    body: bytes
    proofs: tuple[Proof, ...] = ()


def passage(method: str, path: str, body: bytes, pool: str) -> Passage:
    """Return how a call of the pool's factory is passed on; `path` is unquoted, below `/api/`.

    Raises:
        Declined: it is none of those that a worker needs, or about something of somebody else.
    """
    if method == "GET" and path in _OPEN:
        return Passage(method, path, b"")
    if method == "POST" and path in _BY_BODY:
        return _BY_BODY[path](body, pool)
    if found := _POOL.fullmatch(path):
        name, rest = found[1], found[2] or ""
        if (method, rest) in _OF_POOL and name == pool:
            _check_fields("work_pools", method, rest, body)
            return Passage(method, f"work_pools/{quote(name, safe='')}{rest}", body)
    elif found := _THING.fullmatch(path):
        kind, rest = found[1], found[3] or ""
        if (method, kind, rest) in _OF_THING:
            _check_fields(kind, method, rest, body)
            return Passage(method, path, body, (Proof(kind, found[2]),))
    raise Declined(_FORBIDDEN, f"{method} {path}: nothing that the worker of pool {pool} needs")


def _check_fields(kind: str, method: str, rest: str, body: bytes) -> None:
    if method != "PATCH" or rest:
        return
    if others := _object(body).keys() - _FIELDS[kind]:
        said = f"{', '.join(sorted(others))} of {kind}: not for a factory's worker to change"
        raise Declined(_FORBIDDEN, said)


def _filtered(body: bytes, pool: str) -> Passage:
    """Narrow a search for runs to the pool: Prefect's conditions must all hold."""
    narrowed = {**_object(body), "work_pools": {"name": {"any_": [pool]}}}
    return Passage("POST", "flow_runs/filter", msgspec.json.encode(narrowed))


def _logged(body: bytes, pool: str) -> Passage:
    """Let lines in that are of runs of the pool, each of them."""
    lines = _read(body)
    if not isinstance(lines, list) or not lines:
        raise Declined(_FORBIDDEN, f"no list of log lines came from the worker of pool {pool}")
    return Passage("POST", "logs/", body, _proofs([_run_of(line) for line in lines]))


def _left(body: bytes, pool: str) -> Passage:
    """Let an artifact in that is a run's own, under a key that nobody else's can have."""
    left = _object(body)
    run = _run_of(left)
    if not str(left.get("key") or "").endswith(run):
        said = f"an artifact of pool {pool} must have a key that ends with its run's id, {run}"
        raise Declined(_FORBIDDEN, said)
    return Passage("POST", "artifacts/", body, _proofs([run]))


_BY_BODY: Final = {"flow_runs/filter": _filtered, "logs/": _logged, "artifacts/": _left}


def _proofs(runs: Collection[str]) -> tuple[Proof, ...]:
    return tuple(Proof("flow_runs", run) for run in sorted(set(runs)))


def _run_of(thing: object) -> str:
    """Return the run that a log line or an artifact belongs to."""
    named = thing if isinstance(thing, dict) else {}
    run = str(named.get("flow_run_id"))
    if named.get("task_run_id") is not None or not _THING.fullmatch(f"flow_runs/{run}"):
        raise Declined(_FORBIDDEN, "what is written must name its flow run, and no task run")
    return run


def _object(body: bytes) -> dict[str, Any]:
    found = _read(body)
    if not isinstance(found, dict):
        raise Declined(_FORBIDDEN, "the body is no JSON object")
    return found


def _read(body: bytes) -> object:
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise Declined(_FORBIDDEN, f"the body is no JSON: {error}") from error
