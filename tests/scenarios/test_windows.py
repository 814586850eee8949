"""Given factories with maintenance windows, when a release comes, then it changes nodes in them."""

from collections import Counter
from datetime import UTC, datetime, timedelta

from edgefleet.fleet.maintenance import is_open
from edgefleet.fleet.release import Phase
from edgefleet.rehearsal import Stage
from flows.release import release
from tests.scenarios.conftest import SPEC, Build
from tests.scenarios.stories import changed, ended, package, serving, worse

# The world begins at 06:00.
NIGHTS = SPEC + "maintenance: [{factories: [factory-01, factory-02], opens: 22:00, closes: 22:20}]"


def waited(made: Stage) -> Stage:
    """Let the window go by in which the champion came."""
    made.world.clock.sleep(3600)
    return made


def began(made: Stage) -> datetime:
    return datetime.fromtimestamp(made.fleet.start_unix, UTC)


def test_nodes_change_only_while_their_factorys_window_is_open_and_others_do_not_wait(
    build: Build,
) -> None:
    made = waited(build(spec=NIGHTS))
    second = made.submit(2)
    release(second)
    assert ended(made, second) is Phase.RELEASED
    assert serving(made) == Counter({package(second): 40})
    assert set(changed(made).values()) == {1}
    slack = timedelta(seconds=10)  # ordered in time, a server needs a moment to start
    for moved in made.fleet.transitions():
        if moved.before is not None:
            at = began(made) + timedelta(seconds=moved.at_s)
            factory = made.fleet.nodes[moved.node].factory
            windows = made.spec.maintenance
            assert is_open(windows, factory, at) or is_open(windows, factory, at - slack)
    lines = [entry.text for entry in made.world.ledger.journal(second)]
    assert any("canary waits for its maintenance windows to open: factory-01" in t for t in lines)


def test_a_wave_that_its_window_is_too_short_for_goes_on_in_the_next(build: Build) -> None:
    short = NIGHTS.replace("22:20", "22:01").replace("per_factory: 4", "per_factory: 1")
    made = waited(build(spec=short))
    second = made.submit(2)
    release(second)
    assert ended(made, second) is Phase.RELEASED
    assert serving(made) == Counter({package(second): 40})
    nights = {
        (began(made) + timedelta(seconds=m.at_s)).date()
        for m in made.fleet.transitions()
        if m.before is not None and made.fleet.nodes[m.node].factory == "factory-01"
    }
    assert len(nights) > 1


def test_the_way_back_waits_for_no_window(build: Build) -> None:
    made = waited(worse(build(spec=NIGHTS.replace("22:20", "22:02")), accuracy=0.80))
    second = made.submit(2)
    release(second)
    assert ended(made, second) is Phase.ROLLED_BACK
    back = [m for m in made.fleet.transitions() if m.before == package(second)]
    assert back
    hours = {(began(made) + timedelta(seconds=m.at_s)).time() for m in back}
    assert any((at.hour, at.minute) < (22, 0) or at.minute >= 2 for at in hours)
