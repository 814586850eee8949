"""The nodes of a memory world, its faults and its time; sites and telemetry are views of it.

Everything follows from the arguments: the same seed, faults and orders at the same virtual times
give the same fleet. One lock guards it all, so many threads may work on it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from edgefleet.adapters.memory.clock import MemoryClock
from edgefleet.adapters.memory.faults import Fault, Kind, parts, struck
from edgefleet.adapters.memory.node import PROBLEMS, Node, Transfer, Transition
from edgefleet.edge.contract import Digest
from edgefleet.errors import Refused
from edgefleet.fleet.drill import check_cut
from edgefleet.fleet.inventory import PullSource
from edgefleet.ports import Images, Layer

CAMERA: Final[Mapping[str, str]] = MappingProxyType({"line": "camera"})
PAST_WINDOWS: Final = 240
"""As many windows as a node's own spool keeps; nodes have served their champion that long."""


class MemoryWorld:
    """A fleet of `nodes` in `factories`, named node-0001... and factory-01...; none serves yet.

    Sizes of packages come from `images`, where given, minus the layers that a node has; else each
    package has `package_bytes`.
    """

    def __init__(
        self,
        nodes: int = 100,
        factories: int = 4,
        seed: int = 0,
        faults: Sequence[Fault] = (),
        clock: MemoryClock | None = None,
        window_s: float = 60.0,
        *,
        labels: Mapping[str, str] = CAMERA,
        hardware: Sequence[str] = ("x86-64",),
        start_s: float = 4.0,
        package_bytes: int = 60_000_000,
        wan_bytes_per_s: float = 10e6,
        mirror_bytes_per_s: float = 50e6,
        images: Images | None = None,
    ) -> None:
        if not 1 <= factories <= nodes:
            raise Refused(
                "memory world", f"{nodes} nodes in {factories} factories", "Give each at least one"
            )
        self.clock = clock or MemoryClock()
        self.seed = seed
        self.window_s = window_s
        self.lock = threading.RLock()
        self._start = self.clock.now()
        self._package_bytes = package_bytes
        self._rates = {PullSource.WAN: wan_bytes_per_s, PullSource.MIRROR: mirror_bytes_per_s}
        self._images = images
        self._transfers: list[Transfer] = []
        self._down: dict[str, set[Fault]] = {}
        self._unplugged: dict[str, Fault] = {}
        self.nodes: dict[str, Node] = {}
        for index in range(nodes):
            name = f"node-{index + 1:0{max(4, len(str(nodes)))}d}"
            factory = f"factory-{index * factories // nodes + 1:02d}"
            own = {**labels, "factory": factory, "hardware": hardware[index % len(hardware)]}
            self.nodes[name] = Node(name, factory, index, MappingProxyType(own), start_s)
        for fault in faults:
            self.strike(fault)

    @property
    def factories(self) -> tuple[str, ...]:
        """The factories' names."""
        return tuple(dict.fromkeys(node.factory for node in self.nodes.values()))

    @property
    def now_s(self) -> float:
        """Virtual seconds since the start."""
        return (self.clock.now() - self._start).total_seconds()

    @property
    def start_unix(self) -> float:
        """The start, unix seconds: what windows are counted from."""
        return self._start.timestamp()

    def down(self, factory: str) -> bool:
        """Say whether a factory's control plane answers nobody now."""
        return any(fault.active(self.now_s) for fault in self._down.get(factory, ()))

    def node(self, name: str, factory: str) -> Node:
        """Return a node of a factory; Refused when there is none."""
        found = self.nodes.get(name)
        if found is None or found.factory != factory:
            raise Refused(name, f"not a node of {factory}", "Take a new snapshot")
        return found

    # --- what a test or a rehearsal decides -------------------------------------------------------

    def install(self, workload: str, digest: Digest, nodes: Iterable[str] | None = None) -> None:
        """Let nodes (all) have served `digest` long before the start: their champion."""
        with self.lock:
            for name in self.nodes if nodes is None else nodes:
                job = self.nodes[name].job(workload)
                job.ordered = job.champion = digest
                self.nodes[name].start(job, digest, -PAST_WINDOWS * self.window_s)

    def strike(self, fault: Fault) -> None:
        """Add a fault, also in the middle of a release; pulls under way keep their time."""
        with self.lock:
            where = {node.name: node.factory for node in self.nodes.values()}
            for part in parts(fault, where, self.seed):
                for name in struck(part, where, self.seed):
                    if part.kind is Kind.SITE_DOWN:
                        self._down.setdefault(where[name], set()).add(part)
                    else:
                        self.nodes[name].faults = (*self.nodes[name].faults, part)

    def unplug(self, node: Node, seconds: float) -> None:
        """Cut a node's link from now on, for so long; 0: end the last such cut.

        Raises:
            Refused: it is for too long, or no time at all.
        """
        check_cut(node.name, seconds)
        last = self._unplugged.pop(node.name, None)
        others = tuple(fault for fault in node.faults if fault is not last)
        if len(others) < len(node.faults):
            self.mend(node.name, others)
        if seconds:
            cut = Fault(Kind.OFFLINE, (node.name,), at_s=self.now_s, for_s=seconds)
            self._unplugged[node.name] = cut
            self.strike(cut)

    def mend(self, node: str, left: tuple[Fault, ...] = ()) -> None:
        """End all faults of a node now, but for `left`; what waited for it goes on at once."""
        with self.lock:
            mended, now_s = self.nodes[node], self.now_s
            for workload in mended.jobs:
                mended.settle(workload, now_s)
            mended.faults = left
            for job in mended.jobs.values():
                job.delivered_s = min(job.delivered_s, mended.online_from(now_s))
            for digest, pull in tuple(mended.pulls.items()):
                if pull.ended_s > now_s:
                    again = replace(self._transfer(mended, digest, None, now_s), source=pull.source)
                    mended.pulls[digest] = again
                    self._transfers[self._transfers.index(pull)] = again

    def veto(self, node: str, reason: str | None) -> None:
        """Set (None: lift) a factory's own hold on a node."""
        with self.lock:
            self.nodes[node].hold_reason = reason

    # --- what happened ----------------------------------------------------------------------------

    def transitions(self) -> tuple[Transition, ...]:
        """Return every change of what a node serves, by time: what "exactly once" is read from."""
        with self.lock:
            for node in self.nodes.values():
                for workload in node.jobs:
                    node.settle(workload, self.now_s)
            found = [one for node in self.nodes.values() for one in node.transitions]
        return tuple(sorted(found, key=lambda one: (one.at_s, one.node)))

    def transfers(self) -> tuple[Transfer, ...]:
        """Return every pull that was ever begun, by order."""
        with self.lock:
            return tuple(self._transfers)

    # --- pulls ------------------------------------------------------------------------------------

    def pull(self, node: Node, digest: Digest, seed: str | None, at_s: float) -> None:
        """Begin to bring a package to a node, unless it is there, coming, or held."""
        held = node.pulls.get(digest)
        if held and (not held.failure or at_s < held.ended_s):
            return
        node.pulls[digest] = self._transfer(node, digest, seed, at_s)
        self._transfers.append(node.pulls[digest])

    def _transfer(self, node: Node, digest: Digest, seed: str | None, at_s: float) -> Transfer:
        begin_s = node.online_from(at_s)
        here = (node.name, node.factory, digest)
        if node.pinned(digest):
            return Transfer(*here, PullSource.NONE, 0, begin_s, begin_s)
        try:
            size = self._missing_bytes(node, digest, at_s)
        except Refused as gone:
            return Transfer(*here, PullSource.NONE, 0, begin_s, begin_s, str(gone))
        if node.fault(Kind.DISK_FULL, begin_s):
            failure = f"no space left: {size / 1e6:.0f} MB needed, 20 MB free"
            return Transfer(*here, PullSource.NONE, 0, begin_s, begin_s, failure)
        # A seeder that does not have it yet serves nothing: the bytes would cross the WAN again.
        source = PullSource.MIRROR if self._has(seed, digest, at_s) else PullSource.WAN
        slow = node.fault(Kind.SLOW, begin_s)
        need_s = size / self._rates[source] * (slow.value if slow else 1.0)
        bad = node.fault(Kind.BAD_SIGNATURE, begin_s)
        failure = f"package {digest[:19]}: {PROBLEMS[Kind.BAD_SIGNATURE]}" if bad else ""
        return Transfer(*here, source, size, begin_s, node.after_online(begin_s, need_s), failure)

    def _has(self, name: str | None, digest: Digest, at_s: float) -> bool:
        node = self.nodes.get(name or "")
        if node is None:
            return False
        pull = node.pulls.get(digest)
        return node.pinned(digest) or bool(pull and not pull.failure and pull.ended_s <= at_s)

    def _missing_bytes(self, node: Node, digest: Digest, at_s: float) -> int:
        if self._images is None:
            return self._package_bytes
        have = [pull.digest for pull in node.pulls.values()]
        have += [job.serving for job in node.jobs.values() if job.serving is not None]
        present = {
            layer.digest
            for image in have
            if self._has(node.name, image, at_s)
            for layer in _layers(self._images, image)
        }
        wanted = self._images.describe(digest).layers
        return sum(layer.size for layer in wanted if layer.digest not in present)


def _layers(images: Images, digest: Digest) -> tuple[Layer, ...]:
    """Return the layers of a package; none where the registry has forgotten it."""
    try:
        return images.describe(digest).layers
    except Refused:
        return ()
