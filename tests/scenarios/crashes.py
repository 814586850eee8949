"""One blow, one release: what a death or a lost answer at any point of it does to its promises.

The points are found by recording every call that an undisturbed release makes on the ports of its
world, the ledger's among them. Each has two: before it (the call never comes), and after it (it
holds, but nobody was told). A trial kills the first driver at one point and lets another one go on;
or it lets the driver live, and the call fails as one does whose answer gets lost.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

from edgefleet.edge.contract import Digest
from edgefleet.fleet.release import Phase
from edgefleet.rehearsal import Stage
from flows.soak import Look
from tasks.records import Drive, champion_of
from tests.scenarios.reaper import IDLE, Point, Reaper, changes, driven, moves, waves
from tests.scenarios.stories import package, serving

Given = Callable[[], AbstractContextManager[Stage]]
"""Makes the same world again, for one release."""


@dataclass(frozen=True)
class Story:
    """A release that nothing disturbed."""

    given: Given
    points: tuple[Point, ...]
    """At which a driver can be killed."""
    kept: "Kept"

    @property
    def answers(self) -> tuple[Point, ...]:
        """Where an answer can get lost: a clock always answers."""
        return tuple(point for point in self.points if not point[0][1].startswith("MemoryClock"))


@dataclass(frozen=True)
class Kept:
    """What has to be the same, whoever was killed."""

    end: Phase
    moves: tuple[str, ...]
    """The phases, in order."""
    waves: frozenset[str]
    """What the journal says of each."""
    serving: Counter[str]
    """Nodes by whether they serve the new package or the champion."""
    changes: Counter[tuple[str, str]]
    """How often each node went over, and to which."""
    unserved: int
    """How often a node went from a package to none."""
    looks: tuple[int, ...]
    """Their numbers."""
    tags: tuple[str, ...]
    """State and aliases of the version in the registry."""

    def broken_by(self, other: "Kept") -> tuple[str, ...]:
        """Return the names of what is otherwise in `other`."""
        names = self.__dataclass_fields__
        return tuple(one for one in names if getattr(self, one) != getattr(other, one))


@dataclass(frozen=True)
class Trial:
    """What came of one blow."""

    point: Point
    reached: bool
    """Whether the call came so often: waiting for a clock takes a call more or less."""
    broken: tuple[str, ...]
    """Promises that did not hold."""


def told(given: Given) -> Story:
    """Run a release undisturbed; return its story, with every point at which it could be killed."""
    reaper = Reaper()
    with given() as made:
        release_id = made.submit(2)
        assert driven(made, release_id, reaper) == 1
        kept = kept_by(made, release_id)
    points = tuple(
        (call, number)
        for call, count in sorted(reaper.calls.items())
        for number in range(1, 2 if call[1] in IDLE else count + 1)
    )
    return Story(given, points, kept)


def tried(story: Story, point: Point, *, spares: bool) -> Trial:
    """Kill the driver of a new release at a point, and let the next one end it; or spare it."""
    reaper = Reaper({point}, spares)
    with story.given() as made:
        release_id = made.submit(2)
        drivers = driven(made, release_id, reaper)
        assert drivers == (1 if spares else 1 + len(reaper.killed_at))
        broken = story.kept.broken_by(kept_by(made, release_id))
    return Trial(point, bool(reaper.killed_at), broken)


def kept_by(made: Stage, release_id: str) -> Kept:
    """Read the promises from the world as it is after a release."""
    new = package(release_id)

    def word(digest: Digest | None) -> str:
        return "nothing" if digest is None else "new" if digest == new else "old"

    champion = champion_of(made.spec.workload)
    assert champion is not None
    (version,) = (v for v in made.world.models.versions(made.spec.model) if v.version == "2")
    return Kept(
        end=made.world.ledger.release(release_id).phase,
        moves=tuple(moves(made, release_id)),
        waves=frozenset(waves(made, release_id)),
        serving=Counter({word(digest): count for digest, count in serving(made).items()}),
        changes=Counter(
            {
                (node, word(digest)): count
                for digest in {new, champion.digest}
                for node, count in changes(made, digest).items()
            }
        ),
        unserved=sum(moved.after is None for moved in made.fleet.transitions()),
        looks=tuple(Drive(release_id, 0).recall_all("look", Look)),
        tags=(version.tags["edgefleet.state"], *version.aliases),
    )


def table(trials: Iterable[Trial]) -> Iterator[str]:
    """Yield the rows of a markdown table: each call, how often it was hit, what came of it."""
    yield "| call | hit before | hit after | as undisturbed | otherwise | not reached |"
    yield "|---|---|---|---|---|---|"
    by_call: dict[str, list[Trial]] = {}
    for trial in trials:
        by_call.setdefault(trial.point[0][1], []).append(trial)
    for name, found in sorted(by_call.items()):
        hit = [trial for trial in found if trial.reached]
        bad = [trial for trial in hit if trial.broken]
        sides = Counter(trial.point[0][0] for trial in hit)
        otherwise = "; ".join(
            f"{trial.point[0][0]} #{trial.point[1]}: {', '.join(trial.broken)}" for trial in bad
        )
        yield (
            f"| `{name}` | {sides['before']} | {sides['after']} | {len(hit) - len(bad)} "
            f"| {otherwise or '-'} | {len(found) - len(hit) or '-'} |"
        )
