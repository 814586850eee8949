"""Given a fleet in memory, when the release flow runs, then it ends where it should."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from edgefleet.adapters.memory.faults import parse_fault
from edgefleet.adapters.memory.kill import watched
from edgefleet.adapters.memory.telemetry import MemoryTelemetry, Quality
from edgefleet.edge.contract import Digest
from edgefleet.errors import Conflict
from edgefleet.fleet.release import Phase
from edgefleet.ports import Image
from edgefleet.rehearsal import Stage
from edgefleet.wiring import installed
from flows.release import release
from tasks.records import champion_of, needed

Build = Callable[..., Stage]


def ended(made: Stage, release_id: str) -> Phase:
    return made.world.ledger.release(release_id).phase


def serving(made: Stage) -> Counter[Digest | None]:
    views = [v for site in made.world.sites.values() for v in site.snapshot(made.spec.workload)]
    return Counter(view.serving.digest if view.serving else None for view in views)


def package(release_id: str) -> Digest:
    return needed(release_id, "package", 0, Image).digest


def worse(made: Stage, accuracy: float) -> Stage:
    """Let the next package be so accurate in the field, whatever the lab says."""
    telemetry = made.world.telemetry
    assert isinstance(telemetry, MemoryTelemetry)

    class Field(dict[Digest, Quality]):
        def get(self, key: Digest, default: Quality | None = None) -> Quality | None:  # type: ignore[override]
            champion = champion_of(made.spec.workload)
            good = champion is None or key == champion.digest
            return default if good else Quality(accuracy=accuracy)

    telemetry.qualities = Field()
    return made


def test_a_good_version_reaches_every_node(build: Build) -> None:
    made = build()
    second = made.submit(2)
    release(second)
    assert ended(made, second) is Phase.RELEASED
    assert serving(made) == Counter({package(second): 40})


def test_each_node_sees_one_transition_per_release(build: Build) -> None:
    made = build()
    release(made.submit(2))
    transitions = Counter(moved.node for moved in made.fleet.transitions())
    assert set(transitions.values()) == {2}  # nothing -> first, first -> second


def test_a_version_that_is_worse_in_the_field_goes_back_and_only_the_canary_had_it(
    build: Build,
) -> None:
    made = worse(build(), accuracy=0.80)
    second = made.submit(2)
    release(second)
    assert ended(made, second) is Phase.ROLLED_BACK
    had_it = {m.node for m in made.fleet.transitions() if m.after == package(second)}
    assert len(had_it) == 5
    champion = champion_of(made.spec.workload)
    assert champion is not None
    assert serving(made) == Counter({champion.digest: 40})


def test_an_abort_before_anything_moved_leaves_everything_as_it_was(build: Build) -> None:
    made = build()
    second = made.submit(2)
    made.world.ledger.ask_abort(second, "wrong version", made.world.clock.now())
    release(second)
    assert ended(made, second) is Phase.ABORTED
    assert package_count(made) == 1


def package_count(made: Stage) -> int:
    return len(serving(made))


def test_nodes_that_are_offline_are_deferred_and_named(build: Build) -> None:
    made = build()
    made.strike([parse_fault("offline:3")])
    second = made.submit(2)
    release(second)
    current = made.world.ledger.release(second)
    assert current.phase is Phase.RELEASED
    assert "3 later" in current.reason


def test_too_many_nodes_offline_are_refused_before_anything_moves(build: Build) -> None:
    made = build()
    made.strike([parse_fault("offline:50%")])
    second = made.submit(2)
    release(second)
    current = made.world.ledger.release(second)
    assert current.phase is Phase.REFUSED
    assert "20 of 40 nodes are deferred" in current.reason


@pytest.mark.parametrize("fault", ["self_check_fails:50%", "wrong_digest:50%", "never_ready:50%"])
def test_canary_nodes_that_do_not_serve_it_send_it_back(build: Build, fault: str) -> None:
    made = build()
    made.strike([parse_fault(fault)])
    second = made.submit(2)
    release(second)
    assert ended(made, second) is Phase.ROLLED_BACK
    champion = champion_of(made.spec.workload)
    assert champion is not None
    assert serving(made) == Counter({champion.digest: 40})


def test_a_second_release_of_the_workload_waits_for_the_first(build: Build) -> None:
    made = build()
    second, third = made.submit(2), made.submit(3)
    release(third)
    assert ended(made, third) is Phase.QUALIFYING
    release(second)
    release(third)
    assert ended(made, third) is Phase.RELEASED


class Killed(BaseException):
    """What SIGKILL looks like from inside: nothing of ours handles it."""


def test_a_driver_killed_again_and_again_still_ends_where_it_should(build: Build) -> None:
    made = build(nodes=20)
    calls, gap, deadly_call = 0, 40.0, 40.0

    def hook(when: str, name: str) -> None:
        nonlocal calls, gap, deadly_call
        if name.endswith((".renew", ".leave", ".now", ".sleep")):
            return
        calls += 1
        if calls >= deadly_call:
            # Later and later: a step that needs more calls than it is ever given cannot end.
            gap *= 1.35
            deadly_call = calls + gap
            raise Killed(f"{when} {name}, call {calls}")

    world = made.world
    deadly = replace(
        world,
        lease_s=0.2,
        ledger=watched(world.ledger, hook),
        images=watched(world.images, hook),
        models=watched(world.models, hook),
        telemetry=watched(world.telemetry, hook),
        sites={name: watched(site, hook) for name, site in world.sites.items()},
    )
    second = made.submit(2)
    kills = 0
    with installed(deadly):
        while world.ledger.release(second).live and kills < 30:
            try:
                release(second)
            except (Killed, Conflict):
                kills += 1
    assert ended(made, second) is Phase.RELEASED
    assert kills > 3
    assert set(Counter(m.node for m in made.fleet.transitions()).values()) == {2}
