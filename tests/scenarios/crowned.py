"""A champion without the release that made it: for a world whose nodes serve it already."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from edgefleet.edge.contract import Digest
from edgefleet.fleet.release import NEXT, Admission, Phase, Signal
from edgefleet.spec import parse_spec
from edgefleet.wiring import World

_TO_THE_END = (*[Signal.DONE] * 5, Signal.PASSED, Signal.DONE)
"""What moves a release from its admission to its end."""


def crown(world: World, spec: str, digest: Digest) -> None:
    """Let the first release of a spec end RELEASED, with a package that `world.images` knows."""
    ledger, now = world.ledger, datetime.now(UTC)
    read = parse_spec(spec, "test")
    asked = Admission(read.workload, read.fleet, read.model, "1", "test", spec)
    name = ledger.admit(asked, now)[0].release_id
    epoch = ledger.acquire(read.workload, "test", now, 60)
    ledger.put(name, "package", 0, msgspec.json.encode(world.images.describe(digest)), epoch)
    phase = Phase.QUALIFYING
    for said in _TO_THE_END:
        ledger.move(name, phase, said, "", epoch, now)
        phase = NEXT[phase, said]
    ledger.leave(read.workload, "test", epoch)
    assert ledger.release(name).phase is Phase.RELEASED
