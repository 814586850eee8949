"""One node of a memory world: what it was ordered, what it pulls, what it serves, and since when.

When an order comes the time of its end is computed from the node's faults; nothing ticks. Looking
at a node settles what should have happened by then, so ten thousand idle nodes cost nothing. A
server that does not come up leaves the old one serving, as a rolling update without gaps does; a
fault that ends lets the start be tried again, as a kubelet would.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from edgefleet.adapters.memory.faults import Fault, Kind, hash_of
from edgefleet.adapters.memory.windows import Served
from edgefleet.edge.contract import Digest, Needs, ShadowOrder, parse_digest
from edgefleet.errors import Conflict
from edgefleet.fleet.inventory import Change, NodeView, Pull, PullSource, PullState, Serving

LOADING: Final = (Kind.BAD_SIGNATURE, Kind.SELF_CHECK_FAILS, Kind.NEVER_READY)
"""Faults that keep a new package from serving."""
PROBLEMS: Final[Mapping[Kind, str]] = {
    Kind.BAD_SIGNATURE: "its signature is accepted by none of the node's keys",
    Kind.SELF_CHECK_FAILS: "its self-check failed: 3 of 32 golden answers differ",
    Kind.NEVER_READY: "it is still loading and never became ready",
}

_FREE: Final = Needs(memory_mb=2048, cpu_millis=4000)


@dataclass(frozen=True, slots=True)
class Transition:
    """A node's server of one workload gave way to another; what tests count."""

    node: str
    workload: str
    at_s: float
    """Seconds after the world's start."""
    before: Digest | None
    after: Digest | None
    epoch: int


@dataclass(frozen=True, slots=True)
class Transfer:
    """One package on its way to one node; its ends are seconds after the world's start."""

    node: str
    factory: str
    digest: Digest
    source: PullSource
    size: int
    began_s: float
    ended_s: float
    """`inf`: the node never comes back."""
    failure: str = ""

    def seen(self, at_s: float) -> Pull:
        """Return how far it is."""
        took_s = max(min(at_s, self.ended_s) - self.began_s, 0.0)
        if at_s >= self.ended_s and self.failure:
            state = PullState.FAILED
            return Pull(self.digest, state, self.failure, 0, took_s, self.source)
        if at_s >= self.ended_s:
            state = PullState.PRESENT
            return Pull(self.digest, state, "", self.size, took_s, self.source)
        part = took_s / (self.ended_s - self.began_s) if took_s else 0.0
        state = PullState.PULLING
        return Pull(self.digest, state, "", int(part * self.size), took_s, self.source)


@dataclass(slots=True)
class Job:
    """One workload on one node."""

    ordered: Digest | None = None
    serving: Digest | None = None
    previous: Digest | None = None
    champion: Digest | None = None
    """What it served when the world began."""
    epoch: int = 0
    delivered_s: float = 0.0
    began_s: float | None = None
    """When the start of what is ordered began; None: its image is not there."""
    pending: bool = False
    problem: str = ""
    failing: bool = False
    """A server of what is ordered is up, but not ready."""
    boot: int = 0
    proven: set[Digest] = field(default_factory=set)
    """What has served here well: faults of a package do not concern it."""
    history: list[Served] = field(default_factory=list)
    """Ascending: which server answered when."""
    shadows: list[tuple[float, ShadowOrder]] = field(default_factory=list)
    rest: tuple[tuple[object, ...], NodeView] | None = None
    """What its node showed when nothing was under way, with all that this came from."""


@dataclass(slots=True)
class Node:
    """A node's own state; its site and its telemetry look at it under the world's lock."""

    name: str
    factory: str
    number: int
    labels: Mapping[str, str]
    start_s: float
    faults: tuple[Fault, ...] = ()
    hold_reason: str | None = None
    pulls: dict[Digest, Transfer] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    transitions: list[Transition] = field(default_factory=list)

    # --- faults -----------------------------------------------------------------------------------

    def fault(self, kind: Kind, at_s: float) -> Fault | None:
        """Return the fault of a kind that the node has at a time."""
        if not self.faults:
            return None
        return next((f for f in self.faults if f.kind is kind and f.active(at_s)), None)

    def online_from(self, at_s: float) -> float:
        """Return the first time from `at_s` on at which the node's link is up; may be `inf`."""
        while at_s < math.inf:
            ends = [end for begin, end in self._outages(at_s) if begin <= at_s < end]
            if not ends:
                break
            at_s = max(ends)
        return at_s

    def after_online(self, at_s: float, need_s: float) -> float:
        """Return when the link will have been up for `need_s` seconds in all since `at_s`."""
        while (at_s := self.online_from(at_s)) < math.inf:
            cut_s = self._next_cut(at_s)
            if cut_s - at_s >= need_s:
                return at_s + need_s
            need_s -= cut_s - at_s
            at_s = cut_s
        return math.inf

    def _outages(self, at_s: float) -> Iterator[tuple[float, float]]:
        for fault in self.faults:
            for begin, end in fault.outages(hash_of(self.name) % 60, at_s):
                if begin > at_s:
                    break
                yield begin, end

    def _next_cut(self, at_s: float) -> float:
        coming = math.inf
        for fault in self.faults:
            for begin, _ in fault.outages(hash_of(self.name) % 60, at_s):
                if begin > at_s:
                    coming = min(coming, begin)
                    break
        return coming

    # --- orders -----------------------------------------------------------------------------------

    def job(self, workload: str) -> Job:
        """Return the node's state for a workload."""
        return self.jobs.setdefault(workload, Job())

    def pinned(self, digest: Digest) -> bool:
        """Say whether a server of the node, or its shadow, keeps the package there."""
        return any(digest in {job.serving, job.previous} for job in self.jobs.values())

    def order(self, change: Change, at_s: float) -> None:
        """Take a change; Conflict when neither `was` nor `want` is what was ordered last."""
        self.settle(change.workload, at_s)
        job = self.job(change.workload)
        if job.ordered == change.want:
            return
        if job.ordered != change.was:
            message = (
                f"node {self.name} was told {_short(job.ordered)} for {change.workload}, "
                f"the change expects {_short(change.was)}: read it again"
            )
            raise Conflict(message)
        job.ordered, job.epoch = change.want, change.epoch
        job.delivered_s, job.began_s = self.online_from(at_s), None
        job.pending, job.problem, job.failing = change.want != job.serving, "", False

    def settle(self, workload: str, at_s: float) -> None:
        """Let happen what should have happened by now."""
        job = self.job(workload)
        while job.pending and job.delivered_s <= at_s:
            if job.ordered is None:
                self._switch(workload, job, None, job.delivered_s)
                return
            if job.began_s is None:
                present_s = self._present_from(job.ordered, at_s)
                if present_s is None:
                    return
                job.began_s = max(job.delivered_s, present_s)
            slow = self.fault(Kind.SLOW, job.began_s)
            ready_s = job.began_s + self.start_s * (slow.value if slow else 1.0)
            if at_s < ready_s:
                return
            bad = None if job.ordered in job.proven else self._bad(ready_s)
            if bad is None:
                self._switch(workload, job, self._really(job, ready_s), ready_s)
                return
            job.problem, job.failing = PROBLEMS[bad.kind], True
            if at_s < bad.at_s + bad.for_s:
                return
            job.began_s = bad.at_s + bad.for_s  # the fault is over: started again
            job.problem, job.failing = "", False

    def _bad(self, at_s: float) -> Fault | None:
        return next((f for f in self.faults if f.kind in LOADING and f.active(at_s)), None)

    def _present_from(self, digest: Digest, at_s: float) -> float | None:
        if self.pinned(digest):
            return 0.0
        pull = self.pulls.get(digest)
        return pull.ended_s if pull and not pull.failure and pull.ended_s <= at_s else None

    def _really(self, job: Job, at_s: float) -> Digest | None:
        """Return the digest that the server will say, which a fault may make another."""
        if job.ordered in job.proven or not self.fault(Kind.WRONG_DIGEST, at_s):
            return job.ordered
        return parse_digest(f"sha256:{hashlib.sha256(f'not {job.ordered}'.encode()).hexdigest()}")

    def _switch(self, workload: str, job: Job, digest: Digest | None, at_s: float) -> None:
        self.transitions.append(
            Transition(self.name, workload, at_s, job.serving, digest, job.epoch)
        )
        self.start(job, digest, at_s)

    def start(self, job: Job, digest: Digest | None, at_s: float) -> None:
        """Let `digest` serve from `at_s` on."""
        if job.serving is not None:
            job.previous = job.serving
        job.serving, job.pending, job.problem, job.failing = digest, False, "", False
        job.boot += digest is not None
        before = job.history[-1].digest if job.history else None
        job.history.append(Served(at_s, digest, job.boot, before))
        if digest is not None and digest == job.ordered:
            job.proven.add(digest)

    # --- looks ------------------------------------------------------------------------------------

    def view(self, workload: str, at_s: float) -> NodeView:
        """Return the node as its site sees it.

        A node at rest shows the same from look to look: a fleet of thousands is mostly that.
        """
        self.settle(workload, at_s)
        job = self.job(workload)
        pulls = tuple(self.pulls.values())
        if self.faults or job.pending or any(pull.ended_s > at_s for pull in pulls):
            return self._view(job, at_s)
        shown = (job.ordered, job.serving, job.boot, self.hold_reason, pulls)
        if job.rest is None or job.rest[0] != shown:
            job.rest = (shown, self._view(job, at_s))
        return job.rest[1]

    def _view(self, job: Job, at_s: float) -> NodeView:
        online = self.online_from(at_s) == at_s
        full = self.fault(Kind.DISK_FULL, at_s)
        return NodeView(
            node=self.name,
            factory=self.factory,
            labels=self.labels,
            online=online,
            serving=self._serving(job) if online else None,
            ordered=job.ordered,
            hold_reason=self.hold_reason,
            pulls=tuple(pull.seen(at_s) for pull in self.pulls.values()),
            free=_FREE,
            disk_free_mb=20 if full else 8192,
            problem=self._problem(job, at_s),
        )

    def _serving(self, job: Job) -> Serving | None:
        url, boot = f"http://{self.name}.invalid:8080", f"{self.name}/{job.boot}"
        if job.serving is not None:
            return Serving(job.serving, ready=True, self_check_passed=True, boot=boot, url=url)
        if job.failing and job.ordered is not None:
            boot = f"{self.name}/{job.boot + 1}"
            return Serving(job.ordered, False, False, boot, url, job.problem)
        return None

    def _problem(self, job: Job, at_s: float) -> str:
        if not job.pending or job.ordered is None or job.delivered_s > at_s:
            return job.problem
        if job.began_s is not None:
            return job.problem
        pull = self.pulls.get(job.ordered)
        if pull is None:
            return f"package {_short(job.ordered)} is not on the node: hold it first"
        return pull.failure if at_s >= pull.ended_s else ""


def _short(digest: Digest | None) -> str:
    return "nothing" if digest is None else digest[:19]
