"""What a package asks of a node, and whether a node has it to spare for one more server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from edgefleet.edge.contract import NEEDS, Digest, Needs


@dataclass(frozen=True, slots=True)
class Package:
    """What a release ships, as far as a plan looks at it."""

    digest: Digest
    model_bytes: int
    needs: Needs


def needs_of(annotations: Mapping[str, str]) -> Needs:
    """Return what an image's annotations ask for; one without any asks for the usual."""
    stated = annotations.get(NEEDS)
    return Needs() if stated is None else msgspec.json.decode(stated, type=Needs)


def for_two(needs: Needs) -> Needs:
    """Return what a server needs that holds two models of a kind, to swap one for the other."""
    return msgspec.structs.replace(needs, memory_mb=2 * needs.memory_mb)


def lacking(needs: Needs, free: Needs | None) -> str:
    """Return what a node lacks for one more server, in words; empty: nothing, or nobody knows."""
    if free is None:
        return ""
    wanted = {
        "MB of memory": (needs.memory_mb, free.memory_mb),
        "thousandths of a core": (needs.cpu_millis, free.cpu_millis),
        **{name: (count, free.devices.get(name, 0)) for name, count in needs.devices.items()},
    }
    return "; ".join(
        f"{there} {name} free, {asked} needed"
        for name, (asked, there) in wanted.items()
        if there < asked
    )
