"""From objects and answers to the view of a node: pure.

A pod's readiness is a hint, and an order is none: what serves is what the node's own server said.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from edgefleet.adapters.kubernetes.edges import held_back, online
from edgefleet.adapters.kubernetes.objects import ContainerStatus, Deployment, Job, Node, Pod
from edgefleet.adapters.kubernetes.owners import GIVE_BACK
from edgefleet.adapters.kubernetes.pulls import PULL_FAILED, no_place, pull_of, state_of
from edgefleet.adapters.kubernetes.room import free_on
from edgefleet.edge.contract import LOADING, Digest, Needs, Summary, parse_digest
from edgefleet.fleet.inventory import NodeView, PullState, Serving
from edgefleet.fleet.manifest_names import (
    BASE,
    DIGEST,
    HELD,
    HOLD,
    HOLD_UPGRADE,
    SWAP,
    WORKLOAD,
    digest_in,
)

_OOM: Final = "OOMKilled"


@dataclass(frozen=True, slots=True)
class Said:
    """What a pod's server said of itself, and where."""

    summary: Summary
    url: str


@dataclass(frozen=True, slots=True)
class Kin:
    """What there is for one node and one workload."""

    node: Node
    deployment: Deployment | None
    pods: Sequence[Pod]
    """Of the workload, on the node or meant for it."""
    free: Needs
    """What is left for one more server."""
    jobs: Sequence[tuple[Job, Pod | None]]
    """The node's holds, each with its pod."""
    swaps: Sequence[tuple[Job, Pod | None]]
    """Jobs that put the ordered package into the workload's server, each with its pod."""


def held(kin: Kin) -> str | None:
    """Return why a factory wants nothing changed, in its words; None: it says nothing of the kind.

    A pod that only carries KubeEdge's mark holds nothing yet: it does once its edge waits with it.
    """
    said = kin.node.metadata
    for where in (said.annotations, said.labels):
        if HOLD in where:
            return where[HOLD] or "no reason given"
    marks = [said.annotations]
    if kin.deployment:
        marks.append(kin.deployment.metadata.annotations)
    if any(mark.get(HOLD_UPGRADE) == "true" for mark in marks):
        return f"KubeEdge holds changes ({HOLD_UPGRADE})"
    return held_back(kin.pods) or None


def swaps(found: Deployment | None) -> bool:
    """Say whether a node's server takes the next model in place."""
    return found is not None and found.spec.replicas > 0 and BASE in found.metadata.annotations


def holds(jobs: Iterable[Job]) -> list[Job]:
    """Return the Jobs that hold a package."""
    return [job for job in jobs if HELD in job.metadata.labels]


def _named(found: Deployment) -> Digest | None:
    """Return the package that a Deployment's pods are made from."""
    if found.spec.replicas == 0:
        return None
    return digest_in(found.spec.template.spec.containers[0].image)


def ordered(found: Deployment | None) -> Digest | None:
    """Return what a node was told to serve: what its Deployment's template really names.

    Where the server swaps, the template stays, and the order is noted beside it.
    """
    if found is None:
        return None
    if swaps(found):
        return parse_digest(found.metadata.annotations[DIGEST])
    return _named(found)


def drifted(found: Deployment | None) -> str:
    """Return in words how somebody else changed a Deployment of ours; empty: nobody did."""
    if found is None:
        return ""
    said = found.metadata.annotations.get(BASE if swaps(found) else DIGEST, "")
    now = _named(found)
    if said == (now or ""):
        return ""
    name = found.metadata.name
    return f"somebody changed {name}: it names {now}, edgefleet ordered {said}. {GIVE_BACK}"


def view(kin: Kin, factory: str, said: Mapping[str, Said], away: str = "") -> NodeView:
    """Return the view; `said` has the answers by pod uid, `away` why the node is not judged."""
    node = kin.node
    here = online(node) and not away
    want = ordered(kin.deployment)
    serving = _serving(kin.pods, said, want) if here else None
    disk = [s.summary.disk_free_mb for s in said.values() if s.summary.disk_free_mb is not None]
    return NodeView(
        node=node.metadata.name,
        factory=factory,
        labels=node.metadata.labels,
        online=here,
        serving=serving,
        ordered=want,
        hold_reason=held(kin),
        swaps=swaps(kin.deployment),
        pulls=tuple(pull_of(node, job, pod) for job, pod in kin.jobs),
        free=kin.free,
        disk_free_mb=min(disk) if disk else None,
        problem=drifted(kin.deployment) or ("" if away else _problem(kin, said, want, serving)),
        away=away,
    )


def _serving(pods: Iterable[Pod], said: Mapping[str, Said], want: Digest | None) -> Serving | None:
    """Return who answers requests: the ordered package as soon as it can, whoever can till then."""
    best: tuple[tuple[bool, bool, bool], Serving] | None = None
    for pod in pods:
        answer = said.get(pod.metadata.uid)
        if answer is None:
            continue
        summary = answer.summary
        ending = bool(pod.metadata.deletion_timestamp)
        if ending and not summary.ready:
            continue
        check = summary.self_check
        serving = Serving(
            digest=summary.digest,
            ready=summary.ready,
            self_check_passed=check.passed,
            boot=summary.boot,
            url=answer.url,
            problem="" if summary.ready else check.reason,
        )
        rank = (summary.ready, not ending, summary.digest == want)
        if best is None or rank > best[0]:
            best = (rank, serving)
    return best[1] if best else None


def _problem(
    kin: Kin, said: Mapping[str, Said], want: Digest | None, serving: Serving | None
) -> str:
    """Return why what was ordered does not serve, in words; empty: it does, or is on its way."""
    if want is None or (serving and serving.digest == want and serving.ready):
        return ""
    if swaps(kin.deployment):
        return _swap_problem(kin, said, want)
    for pod in kin.pods:
        if pod.metadata.deletion_timestamp or pod.package != want:
            continue
        answer = said.get(pod.metadata.uid)
        if answer and not answer.summary.ready and answer.summary.self_check.reason != LOADING:
            return answer.summary.self_check.reason
        words = _unwell((*pod.status.init_container_statuses, *pod.status.container_statuses))
        if words:
            return words
        lacking = no_place(kin.node, pod)
        if lacking:
            return lacking
    return ""


def _swap_problem(kin: Kin, said: Mapping[str, Said], want: Digest) -> str:
    """Return why a model was not taken in place: by the server's word, else by the Job's."""
    for answer in said.values():
        swap = answer.summary.swap
        if swap and swap.want == want and swap.reason:
            return swap.reason
    for job, pod in kin.swaps:
        state, reason = state_of(job, pod)
        if state is PullState.FAILED:
            return reason
        lacking = no_place(kin.node, pod) if pod else ""
        if lacking:
            return lacking
    return ""


def _unwell(statuses: Iterable[ContainerStatus]) -> str:
    for status in statuses:
        waiting, ended = status.state.waiting, status.last_state.terminated
        if waiting and waiting.reason in PULL_FAILED:
            return f"image: {waiting.message or waiting.reason}"
        if waiting and waiting.reason == "CrashLoopBackOff":
            why = (ended.message or ended.reason) if ended else waiting.message
            return f"{status.name} ended {status.restart_count} times: {why}"
        if ended and ended.reason == _OOM:
            return f"{status.name} took more memory than its card says"
    return ""


def kin_of(
    node: Node,
    workload: str,
    deployments: Iterable[Deployment],
    pods: Iterable[Pod],
    jobs: Iterable[Job],
) -> Kin:
    """Pick what belongs to one node and one workload; the others are all those of the node."""
    listed = tuple(pods)
    of_jobs = {p.metadata.labels.get("job-name", ""): p for p in listed if p.ours}
    deployment = next(
        (item for item in deployments if item.metadata.labels.get(WORKLOAD) == workload), None
    )
    want = ordered(deployment)
    known = tuple(jobs)
    return Kin(
        node=node,
        deployment=deployment,
        pods=[p for p in listed if p.ours and p.metadata.labels.get(WORKLOAD) == workload],
        free=free_on(node, listed),
        jobs=[(job, of_jobs.get(job.metadata.name)) for job in holds(known)],
        swaps=[
            (job, of_jobs.get(job.metadata.name))
            for job in known
            if job.metadata.labels.get(SWAP) == workload
            and job.metadata.annotations.get(DIGEST) == want
        ],
    )
