"""What the pods' own servers say, as a central Prometheus was last told: for pods out of reach.

KubeEdge tunnels nothing to pods. What a server showed at its agent's newest scrape is its answer,
if that is recent; a pod without one is absent, and no change is done before its own server was
seen. It comes later than a direct answer, by a scrape and its way, and tells no reason: of a server
that is not ready its pod's status has to say why. The agent's clock stamps it: run NTP.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from edgefleet.adapters.kubernetes.objects import Pod
from edgefleet.adapters.kubernetes.views import Said
from edgefleet.adapters.prometheus_http import Series
from edgefleet.edge.contract import LOADING, Digest, Evidence, SelfCheck, Summary, parse_digest
from edgefleet.fleet.manifest_names import NODE, WORKLOAD

FRESH_S: Final = 90.0
"""Three scrapes of the shipped agent: an answer that is older is none."""
AGAIN_S: Final = 5.0
"""So often is asked anew: however often somebody looks, an agent scrapes every 30 s."""
_INFO: Final = "edge_server_info"
_READY: Final = "edge_ready"
_CHECKED: Final = "edge_self_check_passed"
_PODS: Final = 100
"""For so many one question asks."""

Ask = Callable[[str, float], Sequence[Series]]
"""The series that a query finds, looked at from a time (unix seconds); may raise Unreachable."""


@dataclass(frozen=True, slots=True)
class _Told:
    said: Said | None
    """None: nothing that is whole and recent."""
    asked: float


class Forwarded:
    """Asks a Prometheus for what pods showed. Threads may share it."""

    def __init__(self, ask: Ask, status_port: int, clock: Callable[[], float] = time.time) -> None:
        """Ask by `ask`; `clock` gives unix seconds. `status_port` is only named in addresses."""
        self._ask = ask
        self._port = status_port
        self._clock = clock
        self._told: dict[str, _Told] = {}
        self._lock = threading.Lock()

    def of(self, pods: Iterable[tuple[Pod, Digest | None]]) -> Mapping[str, Said]:
        """Return what running pods showed, by uid; of whom nothing is known is absent.

        Raises:
            Unreachable: Prometheus gave no answer.
        """
        running = [pod for pod, _ in pods if pod.status.phase == "Running"]
        now = self._clock()
        with self._lock:
            known = {uid: told for uid, told in self._told.items() if now - told.asked < FRESH_S}
            due = [
                pod
                for pod in running
                if (told := known.get(pod.metadata.uid)) is None or now - told.asked >= AGAIN_S
            ]
            for begin in range(0, len(due), _PODS):
                some = due[begin : begin + _PODS]
                series = self._ask(question(some), now)
                for pod in some:
                    known[pod.metadata.uid] = _Told(self._said(pod, series, now), now)
            self._told = known
        heard = ((pod.metadata.uid, known[pod.metadata.uid].said) for pod in running)
        return {uid: said for uid, said in heard if said is not None}

    def close(self) -> None:
        """Do nothing: whoever gave `ask` closes what is behind it."""

    def _said(self, pod: Pod, series: Iterable[Series], now: float) -> Said | None:
        found = newest(pod, series)
        if found is None or abs(now - found.at) > FRESH_S:
            return None
        return Said(_summary(pod, found), f"http://{pod.status.pod_ip}:{self._port}")


@dataclass(frozen=True, slots=True)
class Shown:
    """What a server showed at one scrape."""

    at: float
    digest: Digest
    boot: str
    ready: bool
    checked: bool


def question(pods: Iterable[Pod]) -> str:
    """Return the query for what pods showed lately."""
    names = "|".join(sorted(re.escape(pod.metadata.name) for pod in pods))
    return f'{{__name__=~"{_INFO}|{_READY}|{_CHECKED}",pod=~{json.dumps(names)}}}[{FRESH_S:.0f}s]'


def newest(pod: Pod, series: Iterable[Series]) -> Shown | None:
    """Return what a pod showed at its newest scrape of which all has arrived; None: at none.

    Series are its own if they carry its name and its node's.
    """
    scrapes: defaultdict[float, dict[str, tuple[Mapping[str, str], float]]] = defaultdict(dict)
    for labels, at, value in _samples(pod, series):
        if labels.get("__name__") != _INFO or value:
            scrapes[at][labels.get("__name__", "")] = (labels, value)
    whole = [at for at, seen in scrapes.items() if {_INFO, _READY, _CHECKED} <= seen.keys()]
    if not whole:
        return None
    at = max(whole)
    seen = scrapes[at]
    info, _ = seen[_INFO]
    try:
        digest = parse_digest(info.get("digest", ""))
    except ValueError:
        return None
    ready, checked = (bool(seen[name][1]) for name in (_READY, _CHECKED))
    return Shown(at, digest, info.get("boot", ""), ready, checked)


def _samples(
    pod: Pod, series: Iterable[Series]
) -> Iterator[tuple[Mapping[str, str], float, float]]:
    who = (pod.metadata.name, pod.metadata.annotations.get(NODE))
    for one in series:
        if (one.metric.get("pod"), one.metric.get("node")) == who:
            for at, text in one.values:
                yield one.metric, at, float(text)


def _summary(pod: Pod, found: Shown) -> Summary:
    """Return a server's answer with what was forwarded of it; its counts come as evidence."""
    failed = "" if found.checked else "its self-check has not passed"
    return Summary(
        workload=pod.metadata.labels.get(WORKLOAD, ""),
        digest=found.digest,
        boot=found.boot,
        ready=found.ready,
        # Why it is not ready is not forwarded: it may be loading, and must not pass for failed.
        self_check=SelfCheck(
            passed=found.checked, agreed=0, total=0, reason=failed if found.ready else LOADING
        ),
        warm=False,
        window_s=0.0,
        uptime_s=0.0,
        p50_ms=None,
        p95_ms=None,
        p99_ms=None,
        queue_depth=0,
        total=Evidence(window=0, digest=found.digest, boot=found.boot),
    )
