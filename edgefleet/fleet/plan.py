"""The plan of a release: waves of changes, and every node left out with the reason. Pure.

A plan is a value: it prints (`plan_text`), has a hash to which an approval is bound, and can be
refused. `outdated` says whether the fleet has moved away from it since.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec

from edgefleet.edge.contract import Digest, Needs
from edgefleet.errors import Refused
from edgefleet.fleet.cohorts import canary_size, order
from edgefleet.fleet.inventory import Change, Inventory, NodeView
from edgefleet.fleet.needs import Package, for_two, lacking
from edgefleet.fleet.pins import Pin
from edgefleet.fleet.release import Release
from edgefleet.spec import Spec

_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_NO_PINS: Final[Mapping[str, Pin]] = {}
_DISK_MARGIN: Final = 1.2
_MOST_MOVED: Final = 0.1
"""Share of the planned nodes that may look different before a plan is out of date."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A node that gets no change, and why."""

    node: str
    factory: str
    kind: Literal["deferred", "excluded", "current", "pinned"]
    reason: str


@dataclass(frozen=True, slots=True)
class Wave:
    """Nodes that change together."""

    name: str
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Who gets the package when."""

    release_id: str
    workload: str
    want: Digest
    waves: tuple[Wave, ...]
    """The canary first; the holdback, if any, last."""
    left_out: tuple[LeftOut, ...]
    salt: str
    eligible: tuple[str, ...]
    """The nodes over which the canary was drawn."""
    first: bool
    """Whether the workload has no champion yet."""
    hand_picked: bool
    model_bytes: int
    made_at: datetime

    @property
    def nodes_of(self) -> dict[str, list[str]]:
        """The nodes of all waves, in their order, by factory."""
        found: dict[str, list[str]] = defaultdict(list)
        for wave in self.waves:
            for change in wave.changes:
                found[change.factory].append(change.node)
        return found


def make_plan(
    spec: Spec,
    release: Release,
    inventory: Inventory,
    package: Package,
    champion: Digest | None,
    now: datetime,
    pins: Mapping[str, Pin] = _NO_PINS,
) -> Plan:
    """Return the plan; a pinned node is left out of it, as canary and as control too.

    Raises:
        Refused: nothing matches the selector, too many nodes are deferred, too few are left for a
            canary and a control, or a hand-picked node is not among them.
    """
    matching = [v for v in inventory.nodes if spec.selector.items() <= v.labels.items()]
    if not matching:
        wanted = ", ".join(f"{key}={value}" for key, value in spec.selector.items())
        raise Refused(
            spec.workload,
            f"no node of {len(inventory.nodes)} carries {wanted}",
            "Correct the spec's selector or label the nodes",
        )
    want, swap = package.digest, swaps_for(spec, package)
    reasons = {
        view.node: _pinned(view, pins) or left_out_of(view, package, swap=swap) for view in matching
    }
    left_out = tuple(reason for reason in reasons.values() if reason)
    eligible = tuple(view for view in matching if reasons[view.node] is None)
    _few_deferred(spec, matching, left_out, inventory.silent)
    _enough(spec, eligible, first=champion is None)
    drawn = order(eligible, release.salt)
    names = _cut(spec, drawn, first=champion is None)
    views = {view.node: view for view in eligible}
    return Plan(
        release_id=release.release_id,
        workload=spec.workload,
        want=want,
        waves=tuple(
            Wave(
                name,
                tuple(change_of(views[node], spec.workload, want, swap=swap) for node in nodes),
            )
            for name, nodes in names
        ),
        left_out=(*left_out, *_unseen(inventory.silent)),
        salt=release.salt,
        eligible=tuple(sorted(views)),
        first=champion is None,
        hand_picked=bool(spec.canary.nodes),
        model_bytes=package.model_bytes,
        made_at=now,
    )


def plan_hash(plan: Plan) -> str:
    """Return the SHA-256 of the plan in hexadecimal, without the time at which it was made."""
    timeless = replace(plan, made_at=_EPOCH)
    return hashlib.sha256(msgspec.json.encode(timeless, order="deterministic")).hexdigest()


def outdated(plan: Plan, inventory: Inventory) -> str:
    """Return why the fleet is no longer what was planned for, in words; empty: it still is."""
    views = {view.node: view for view in inventory.nodes}
    for change in plan.waves[0].changes:
        problem = _moved(change, views.get(change.node))
        if problem:
            return f"canary node {change.node} {problem}"
    changes = [change for wave in plan.waves for change in wave.changes]
    moved = [change.node for change in changes if _moved(change, views.get(change.node))]
    if len(moved) > _MOST_MOVED * len(changes):
        return f"{len(moved)} of {len(changes)} nodes differ from the plan: {', '.join(moved[:5])}"
    return ""


def swaps_for(spec: Spec, package: Package) -> bool:
    """Say whether a package's nodes change in place, where the spec's `update` leads to it."""
    update = spec.waves.update
    return update == "swap" or (update == "auto" and bool(package.needs.devices))


def _asked(package: Package, *, swap: bool) -> Needs:
    return for_two(package.needs) if swap else package.needs


def left_out_of(view: NodeView, package: Package, *, swap: bool) -> LeftOut | None:
    """Return why a node cannot, or need not, be brought to a package now; None: it can."""
    if not view.online:
        return LeftOut(view.node, view.factory, "deferred", view.away or "offline")
    if view.hold_reason:
        return LeftOut(view.node, view.factory, "deferred", f"held: {view.hold_reason}")
    if view.serves(package.digest) and view.ordered == package.digest:
        return LeftOut(view.node, view.factory, "current", "serves it already")
    disk_mb = _DISK_MARGIN * package.model_bytes / 1e6
    if view.disk_free_mb is not None and view.disk_free_mb < disk_mb:
        reason = f"{view.disk_free_mb} MB of disk free, {disk_mb:.0f} MB needed"
        return LeftOut(view.node, view.factory, "excluded", reason)
    no_room = "" if swap and view.swaps else lacking(_asked(package, swap=swap), view.free)
    if no_room:
        reason = f"no room for the new server beside the old one: {no_room}"
        return LeftOut(view.node, view.factory, "excluded", reason)
    return None


def _pinned(view: NodeView, pins: Mapping[str, Pin]) -> LeftOut | None:
    if view.node not in pins:
        return None
    return LeftOut(view.node, view.factory, "pinned", pins[view.node].in_words)


def _unseen(silent: Mapping[str, str]) -> tuple[LeftOut, ...]:
    """Return one entry for each factory that did not answer: its nodes are not known now."""
    return tuple(
        LeftOut(f"{factory}/*", factory, "deferred", f"its factory did not answer: {why}")
        for factory, why in sorted(silent.items())
    )


def _few_deferred(
    spec: Spec,
    matching: Sequence[NodeView],
    left_out: Sequence[LeftOut],
    silent: Mapping[str, str],
) -> None:
    """Refuse when too many nodes would come later; a silent factory counts as an average one."""
    deferred = [item for item in left_out if item.kind == "deferred"]
    unseen = len(silent) * math.ceil(len(matching) / len({view.factory for view in matching}))
    away, nodes = len(deferred) + unseen, len(matching) + unseen
    if away > spec.max_deferred * nodes:
        first, *_ = (*deferred, *_unseen(silent))
        raise Refused(
            spec.workload,
            f"{away} of {nodes} nodes are deferred, at most {spec.max_deferred:.0%} may be "
            f"({first.node}: {first.reason})",
            "Wait until they are back, or raise max_deferred",
        )


def _enough(spec: Spec, eligible: Sequence[NodeView], *, first: bool) -> None:
    picked = len(set(spec.canary.nodes))
    size = picked or max(canary_size(len(eligible), spec.canary), spec.canary.min_nodes)
    # A first release has nothing to compare with: its canary may be the whole fleet.
    least = 1 if first else size + 1
    if len(eligible) < least:
        control = "" if first else f", and a canary of {size} and one control need {least}"
        raise Refused(
            spec.workload,
            f"{len(eligible)} nodes can change{control}",
            "Lower canary.min_nodes or bring more nodes online",
        )
    missing = sorted(set(spec.canary.nodes) - {view.node for view in eligible})
    if missing:
        raise Refused(
            "canary.nodes",
            f"{', '.join(missing)} cannot change now ({len(eligible)} nodes can)",
            "Name others, or none: then the canary is drawn",
        )


def _cut(
    spec: Spec, drawn: tuple[str, ...], *, first: bool
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Cut the order into canary, waves and holdback; empty waves are left away."""
    picked = spec.canary.nodes or drawn[: canary_size(len(drawn), spec.canary)]
    rest = tuple(node for node in drawn if node not in set(picked))
    held = 0 if first else max(round(spec.waves.holdback * len(drawn)), spec.canary.min_nodes)
    held = min(held, len(rest) // 3) if not first else 0
    middle = rest[: len(rest) - held]
    waves = [("canary", tuple(picked))]
    begin = 0
    for number, share in enumerate(spec.waves.shares, 1):
        end = len(middle) if number == len(spec.waves.shares) else round(share * len(middle))
        waves.append((f"wave-{number}", middle[begin:end]))
        begin = max(begin, end)
    waves.append(("holdback", rest[len(rest) - held :]))
    return tuple((name, nodes) for name, nodes in waves if nodes)


def change_of(view: NodeView, workload: str, want: Digest, *, swap: bool) -> Change:
    """Return the change of a node to a package, from what it was told or shows; without epoch."""
    was = view.ordered or (view.serving.digest if view.serving else None)
    return Change(workload, view.node, view.factory, want, was, epoch=0, swap=swap)


def _moved(change: Change, view: NodeView | None) -> str:
    if view is None or not view.online:
        return "is offline"
    if view.hold_reason:
        return f"is held: {view.hold_reason}"
    if view.ordered not in {change.was, change.want}:
        return f"was given {view.ordered or 'nothing'} by somebody else"
    return ""
