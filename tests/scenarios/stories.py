"""What the stories ask of a world: what serves, what a release shipped, what the field says."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from edgefleet.adapters.memory.kill import watched
from edgefleet.adapters.memory.telemetry import MemoryTelemetry, Quality
from edgefleet.edge.contract import Digest
from edgefleet.fleet.release import Phase
from edgefleet.ports import Image
from edgefleet.rehearsal import Stage
from edgefleet.wiring import installed
from flows.release import release
from tasks.records import needed


def ended(made: Stage, release_id: str) -> Phase:
    return made.world.ledger.release(release_id).phase


def meanwhile(made: Stage, release_id: str, phase: Phase, act: Callable[[], None]) -> None:
    """Drive a release; once, as it comes to a phase and before anything is done there, act."""
    acted = False

    def moved(when: str, call: str) -> None:
        nonlocal acted
        known = (when, call) == ("after", "SqlLedger.move") and not acted
        if known and ended(made, release_id) is phase:
            acted = True  # first: what is called in there may move, too
            act()

    with installed(replace(made.world, ledger=watched(made.world.ledger, moved))):
        release(release_id)


def serving(made: Stage) -> Counter[Digest | None]:
    views = [v for site in made.world.sites.values() for v in site.snapshot(made.spec.workload)]
    return Counter(view.serving.digest if view.serving else None for view in views)


def changed(made: Stage) -> Counter[str]:
    """Return how often each node went over from one package to another."""
    return Counter(moved.node for moved in made.fleet.transitions() if moved.before is not None)


def package(release_id: str) -> Digest:
    return needed(release_id, "package", 0, Image).digest


def worse(made: Stage, accuracy: float) -> Stage:
    """Let the next package be so accurate in the field, whatever the lab says."""
    telemetry = made.world.telemetry
    assert isinstance(telemetry, MemoryTelemetry)
    (champion,) = serving(made)

    class Field(dict[Digest, Quality]):
        def get(self, key: Digest, default: Quality | None = None) -> Quality | None:  # type: ignore[override]
            return default if key == champion else Quality(accuracy=accuracy)

    telemetry.qualities = Field()
    return made
