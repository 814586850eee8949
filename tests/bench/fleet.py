"""`make bench-fleet`: what a release costs over hundreds of nodes behind real API servers.

Runs two releases on a hollow fleet of each size, in a process of its own, and measures the second;
then a bare loop does the same writes once more. Writes docs/benchmarks.md, the targets met or
missed; that no release failed is all that is required.
"""

from __future__ import annotations

import hashlib
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Final

import msgspec

from edgefleet.edge.contract import Digest, parse_digest
from edgefleet.fleet.release import Phase
from edgefleet.report.gather import gather
from tests.bench.fleet_page import Fleet, Loop, Row, page
from tests.kubernetes.bare_loop import BareLoop
from tests.kubernetes.cluster.factory import driver_of
from tests.kubernetes.cluster.hollow import layout
from tests.kubernetes.cluster.remains import wait_for
from tests.kubernetes.hollow_release import Stage, staged

SIZES: Final = (100, 300, 1000)
FACTORIES: Final = 12
PAGE: Final = Path("docs/benchmarks.md")


def main(sizes: list[int]) -> int:
    """Measure each size in a process of its own, so that the peak of its memory is its own."""
    rows: list[Row] = []
    for nodes in sizes or SIZES:
        words = [sys.executable, "-m", "tests.bench.fleet", "--one", str(nodes)]
        done = subprocess.run(words, check=True, stdout=subprocess.PIPE)
        rows.append(msgspec.json.decode(done.stdout.splitlines()[-1], type=Row))
        rows.sort(key=lambda row: row.nodes)
        PAGE.write_text(page(rows), encoding="utf-8")  # each time: the largest takes long
    sys.stdout.write(PAGE.read_text(encoding="utf-8"))
    return 0


def measured(nodes: int) -> Row:
    """Return what the second release of a fleet took, and the loop after it."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        with staged(Path(folder), layout(FACTORIES, nodes)) as stage:
            up_s = time.monotonic() - began
            _released(stage, stage.first(1))
            _rest(stage)
            return _second(stage, up_s)


def _released(stage: Stage, release_id: str) -> None:
    found = stage.release(release_id).release
    sys.stderr.write(f"{stage.how(release_id)}\n")
    if found.phase is not Phase.RELEASED:
        raise RuntimeError(f"{release_id} is {found.phase}: {found.reason}")


def _second(stage: Stage, up_s: float) -> Row:
    release_id = stage.submit(2)
    calls, fleet_s, cpu_s = stage.calls(), cost(stage), time.process_time()
    began = time.monotonic()
    _released(stage, release_id)
    ended = time.monotonic()
    fleet = _since(stage, fleet_s)
    cpu_s = time.process_time() - cpu_s
    at = {phase: moment for moment, phase in stage.ledger.moves[release_id]}
    kept = stage.ledger.kept
    looks_s = sum(
        moment - kept[release_id, "changed", number]
        for (release, kind, number), moment in kept.items()
        if (release, kind) == (release_id, "judged")
    )
    return Row(
        release_id=release_id,
        nodes=sum(len(one.nodes) for one in stage.fleet.factories.values()),
        factories=len(stage.fleet.factories),
        up_s=up_s,
        prepare_s=at[Phase.PREPULLING] - began,
        pull_s=at[Phase.CANARY] - at[Phase.PREPULLING],
        canary_s=at[Phase.SOAKING] - at[Phase.CANARY],
        soak_s=at[Phase.ROLLING] - at[Phase.SOAKING],
        looks_s=looks_s,
        waves_s=at[Phase.RELEASED] - at[Phase.ROLLING] - looks_s,
        let_go_s=ended - at[Phase.RELEASED],
        cpu_s=cpu_s,
        peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        calls=dict(stage.calls() - calls),
        fleet=fleet,
        loop=_loop(stage, release_id),
    )


def _loop(stage: Stage, release_id: str) -> Loop:
    """Bring another package to the same nodes in the same steps, by writes and a watch alone."""
    cluster = next(iter(stage.sites.values())).cluster
    story, manner = gather(stage.ledger, release_id), cluster.manner
    assert story.plan is not None
    files = {name: driver_of(one.plane) for name, one in stage.fleet.factories.items()}
    _rest(stage)
    stage.close()  # its watches would be paid for by the loop
    loop = BareLoop(files, manner, story.plan, story.release.epoch)
    fleet_s = cost(stage)
    took = loop.run(_another())
    loop.close()
    return Loop(
        took.pull_s,
        took.change_s,
        took.let_go_s,
        took.cpu_s,
        dict(took.calls),
        _since(stage, fleet_s),
    )


def _another() -> Digest:
    return parse_digest(f"sha256:{hashlib.sha256(b'another').hexdigest()}")


def _rest(stage: Stage) -> None:
    """Wait until there is nothing but one server on each node."""
    nodes = sum(len(one.nodes) for one in stage.fleet.factories.values())
    clusters = {site.cluster for site in stage.sites.values()}
    wait_for(
        lambda: sum(len(one.pods.all()) for one in clusters) == nodes,
        "what a release left behind is gone",
        120,
    )


def cost(stage: Stage) -> Counter[str]:
    """Return the processor milliseconds of the fleet's processes so far, by what they are."""
    running = stage.fleet.running().items()
    return Counter({name: round(1000 * sum(p.cpu_s() for p in some)) for name, some in running})


def _since(stage: Stage, before: Counter[str]) -> Fleet:
    found = cost(stage)
    players = {"kwok", "edge"}
    parts = Counter({name: found[name] - before[name] for name in found})
    played_s = sum(parts[name] for name in players) / 1000
    return Fleet(control_s=parts.total() / 1000 - played_s, played_s=played_s)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        sys.stdout.write(f"{msgspec.json.encode(measured(int(sys.argv[2]))).decode()}\n")
        sys.exit(0)
    sys.exit(main([int(word) for word in sys.argv[1:]]))
