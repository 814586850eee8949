"""From a pre-pull Job and its pod to what became of the package on its node: pure.

Times are compared with each other only where one clock gave both: a node's own.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from edgefleet.adapters.kubernetes.objects import Job, Node, Pod
from edgefleet.edge.contract import parse_digest
from edgefleet.fleet.inventory import Pull, PullSource, PullState
from edgefleet.fleet.manifest_names import BYTES, DIGEST, SOURCE

PULL_FAILED: Final = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}
)
_REASONS: Final = {
    "no space left": "no disk",
    "not found": "no such digest",
    "manifest unknown": "no such digest",
    "unauthorized": "no auth",
    "authorization failed": "no auth",
    "denied": "no auth",
    "forbidden": "no auth",
}
"""What a pull's message contains -> the reason's class. Others may pass: they are waited for."""
_ENDED: Final = frozenset({"Succeeded", "Failed"})


def pull_of(node: Node, job: Job, pod: Pod | None) -> Pull:
    """Return what became of the package that a Job brings to a node and holds."""
    notes = job.metadata.annotations
    state, reason = state_of(job, pod)
    if pod is not None and state is PullState.PULLING:
        reason = _lost(node, pod)
        state = PullState.FAILED if reason else state
    there = state is PullState.PRESENT
    return Pull(
        digest=parse_digest(notes[DIGEST]),
        state=state,
        reason=reason,
        transferred_bytes=int(notes.get(BYTES, "0")) if there else 0,
        seconds=_seconds(pod) if there and pod else 0.0,
        source=PullSource(notes.get(SOURCE, "none")),
    )


def state_of(job: Job, pod: Pod | None) -> tuple[PullState, str]:
    """Return how far a Job's pod is, and why it failed if it has."""
    if pod is not None:
        statuses = (*pod.status.init_container_statuses, *pod.status.container_statuses)
        for status in statuses:
            ended, waiting = status.state.terminated, status.state.waiting
            if ended and ended.exit_code:
                said = ended.message.strip() or ended.reason
                return PullState.FAILED, f"{status.name}: {said}"
            if waiting and waiting.reason in PULL_FAILED:
                words = waiting.message.lower()
                found = next((c for text, c in _REASONS.items() if text in words), "")
                if found:
                    return PullState.FAILED, f"{found}: {waiting.message}"
        if pod.status.phase == "Running":
            return PullState.PRESENT, ""
    if job.status.failed:
        why = next((c.message for c in job.status.conditions if c.type == "Failed"), "")
        return PullState.FAILED, why or "its pod ended"
    return PullState.PULLING, ""


def no_place(node: Node, pod: Pod) -> str:
    """Return why a pod was not put on its node, in words; empty: it was, or soon will be.

    The scheduler's words name no taint, so what the kubelet says it is short of comes first.
    """
    found = (c for c in pod.status.conditions if c.type == "PodScheduled")
    refused = next((c.message or c.reason for c in found if c.reason == "Unschedulable"), "")
    return refused and f"no place: {_short_of(node) or refused}"


def _lost(node: Node, pod: Pod) -> str:
    """Return why a package will not be held although no container failed; empty: it may be yet."""
    short = _short_of(node)
    if pod.status.phase in _ENDED:  # well or not: a kubelet short of disk ends it politely
        return f"no disk: {short}" if "disk" in short else short or "its pod ended"
    refused = no_place(node, pod)
    return f"no disk: {short}" if refused and "disk" in short else refused if short else ""


def _short_of(node: Node) -> str:
    """Return what a node is short of, in its kubelet's words; meanwhile it takes no new pod."""
    pressing = [c for c in node.status.conditions if c.type.endswith("Pressure")]
    return ", ".join(c.message or c.type for c in pressing if c.status == "True")


def _seconds(pod: Pod) -> float:
    """Return how long the pod took to run; both times are of the node's clock, which may be set."""
    started = next(
        (s.state.running.started_at for s in pod.status.container_statuses if s.state.running), ""
    )
    if not (started and pod.status.start_time):
        return 0.0
    begun = datetime.fromisoformat(pod.status.start_time)
    return max(0.0, (datetime.fromisoformat(started) - begun).total_seconds())
