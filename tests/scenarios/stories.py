"""What the stories ask of a world: what serves, what a release shipped, what the field says."""

from collections import Counter

from edgefleet.adapters.memory.telemetry import MemoryTelemetry, Quality
from edgefleet.edge.contract import Digest
from edgefleet.fleet.release import Phase
from edgefleet.ports import Image
from edgefleet.rehearsal import Stage
from tasks.records import needed


def ended(made: Stage, release_id: str) -> Phase:
    return made.world.ledger.release(release_id).phase


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
