"""What the pods' own servers say, asked directly, many at one time.

By urllib3: httpx takes four times as much of a processor for each answer, and there are thousands.
"""

from __future__ import annotations

import http
import logging
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import msgspec
import urllib3

from edgefleet.adapters.kubernetes.objects import Pod
from edgefleet.adapters.kubernetes.views import Said
from edgefleet.documents import decode
from edgefleet.edge.contract import Digest, Summary

_FRESH_S: Final = 60.0
"""The answer of a server that is ready is believed for so long, unless its pod changes: a server
that is not ready any more changes its pod, and another package is another pod."""
_AGAIN_S: Final = 1.0
"""Whoever is not ready, or silent, is asked again after so long: it may know by now why. One whose
pod is called ready by Kubernetes is asked at each look until it says so itself."""
_FORGOTTEN_S: Final = 600.0
_TIMEOUT: Final = urllib3.Timeout(connect=1.0, read=2.0)
_AT_ONCE: Final = 16
_KEPT: Final = 4 * _AT_ONCE
"""Connections that stay open: a server is asked a few times when it starts, then seldom."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Known:
    said: Said | None
    """None: it did not answer."""
    version: str
    """Of the pod, when it was asked."""
    at: float


class Answers:
    """Asks pods by their own address: for a driver on the factory's network."""

    def __init__(self, status_port: int) -> None:
        """Ask on this port."""
        self._port = status_port
        self._known: dict[str, _Known] = {}
        self._client = urllib3.PoolManager(_KEPT, timeout=_TIMEOUT, retries=False)
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="answers")

    def of(self, pods: Iterable[tuple[Pod, Digest | None]]) -> Mapping[str, Said]:
        """Return what running pods say, by uid; who does not answer is absent.

        Each pod comes with what its node was ordered to serve.
        """
        running = [(p, want) for p, want in pods if p.status.phase == "Running" and p.status.pod_ip]
        now = time.monotonic()
        asked = [pod for pod, want in running if not self._fresh(pod, want, now)]
        names = [pod.metadata.uid for pod in asked]
        heard = dict(zip(names, self._threads.map(self._ask, asked), strict=True))
        uids = [pod.metadata.uid for pod, _ in running]
        with self._lock:
            self._keep(heard)
            known = {uid: self._known[uid].said for uid in uids if uid in self._known}
        return {uid: said for uid, said in known.items() if said is not None}

    def _keep(self, heard: dict[str, _Known]) -> None:
        """Take in what was said; who is not asked any more is forgotten."""
        if heard:
            oldest = time.monotonic() - _FORGOTTEN_S
            recent = {uid: one for uid, one in self._known.items() if one.at > oldest}
            self._known = recent | heard

    def close(self) -> None:
        """Let threads and connections go."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._client.clear()

    def _fresh(self, pod: Pod, want: Digest | None, now: float) -> bool:
        known = self._known.get(pod.metadata.uid)
        if known is None or known.version != pod.metadata.resource_version:
            return False
        summary = known.said.summary if known.said else None
        # What serves beside its image is no answer to rely on, whatever it says of itself; where
        # models are swapped in place the pod stays, and only what was ordered is.
        settled = {want} if summary and summary.swap else {want, pod.package}
        if summary and summary.ready and summary.digest in settled:
            return now - known.at < _FRESH_S
        return not _called_ready(pod) and now - known.at < _AGAIN_S

    def _ask(self, pod: Pod) -> _Known:
        url = f"http://{pod.status.pod_ip}:{self._port}"
        said = None
        try:
            answer = self._client.request("GET", f"{url}/metrics/summary")
            if answer.status == http.HTTPStatus.OK:
                said = Said(decode(answer.data, Summary), url)
        except (urllib3.exceptions.HTTPError, OSError, msgspec.MsgspecError) as error:
            logger.debug("%s gave no answer: %s", url, error)
        return _Known(said, pod.metadata.resource_version, time.monotonic())


def _called_ready(pod: Pod) -> bool:
    return any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions)
