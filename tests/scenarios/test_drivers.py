"""Given releases whose drivers are gone, when somebody looks, then each gets one driver again."""

from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import UTC, datetime, timedelta

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName
from prefect.client.schemas.objects import FlowRun
from prefect.input.run_input import keyset_from_paused_state
from prefect.states import Cancelled, Completed, Crashed, State, Suspended

from edgefleet.fleet.drivers import RunState
from edgefleet.fleet.release import Phase
from flows.release import release
from tasks import drivers
from tasks.drivers import start_missing
from tasks.starts import close_forms, start_release, suspended_run
from tests.scenarios.conftest import Build
from tests.scenarios.stories import ended

LEASE_S = 2.0
"""Long enough to be seen valid on a slow machine, short enough to be waited for."""


def known(client: SyncPrefectClient, release_id: str) -> list[FlowRun]:
    named = FlowRunFilter(name=FlowRunFilterName(any_=[release_id]))
    return client.read_flow_runs(flow_run_filter=named)


def end(client: SyncPrefectClient, release_id: str, state: State[None]) -> None:
    for run in known(client, release_id):
        if run.state and not run.state.is_final():
            client.set_flow_run_state(run.id, state, force=True)


def test_a_release_without_a_driver_gets_one_and_a_second_look_finds_it(
    build: Build, client: SyncPrefectClient
) -> None:
    waiting = build().submit(2)
    assert start_missing() == (waiting,)
    assert start_missing() == ()
    assert len(known(client, waiting)) == 1


def test_many_who_look_at_once_start_one_driver(build: Build, client: SyncPrefectClient) -> None:
    waiting = build().submit(2)
    with ThreadPoolExecutor(4) as threads:
        for future in [threads.submit(copy_context().run, start_missing) for _ in range(4)]:
            future.result()
    assert len(known(client, waiting)) == 1


def test_a_driver_that_crashed_is_followed_by_another(
    build: Build, client: SyncPrefectClient
) -> None:
    driven = build().submit(2)
    start_missing()
    for deaths in (1, 2, 3):
        end(client, driven, Crashed())
        assert start_missing() == (driven,)
        assert len(known(client, driven)) == deaths + 1
    end(client, driven, Crashed())
    assert start_missing() == ()  # the fourth death in a row: later


def test_the_lease_of_a_dead_driver_is_waited_for_by_whoever_is_patient(
    build: Build, client: SyncPrefectClient
) -> None:
    made = build()
    driven = made.submit(2)
    start_missing()
    ledger, now = made.world.ledger, datetime.now(UTC)
    ledger.acquire(made.spec.workload, "the dead driver", now, LEASE_S)
    end(client, driven, Crashed())
    assert start_missing() == ()
    assert start_missing(patient=True) == (driven,)
    assert datetime.now(UTC) >= now + timedelta(seconds=LEASE_S)


def test_the_lease_of_a_living_driver_is_not_waited_for(
    build: Build, client: SyncPrefectClient
) -> None:
    made = build()
    driven = made.submit(2)
    start_missing()
    made.world.ledger.acquire(made.spec.workload, "a driver", datetime.now(UTC), 3600)
    assert start_missing(patient=True) == ()
    assert len(known(client, driven)) == 1


def test_a_cancelled_release_is_aborted_and_not_resumed(
    build: Build, client: SyncPrefectClient
) -> None:
    made = build()
    driven = made.submit(2)
    start_missing()
    end(client, driven, Cancelled())
    assert start_missing() == (driven,)
    assert made.world.ledger.release(driven).abort_asked == "cancelled in Prefect"
    release(driven)
    assert ended(made, driven) is Phase.ABORTED


def test_a_run_is_suspended_once_its_form_is_there(build: Build, client: SyncPrefectClient) -> None:
    name = build().submit(2)
    start_missing()
    waiting = Suspended(timeout_seconds=60, pause_key="approval")
    form = waiting.state_details.run_input_keyset = keyset_from_paused_state(waiting)
    end(client, name, waiting)
    # In between its driver can be killed: nobody could answer, so it is waited for, not for ever.
    assert suspended_run(name) is None
    assert [run.state for run in drivers._runs([name])[name]] == [RunState.PENDING]
    [run] = known(client, name)
    client.create_flow_run_input(run.id, form["schema"], "{}")
    assert suspended_run(name) == run
    assert [run.state for run in drivers._runs([name])[name]] == [RunState.SUSPENDED]
    assert start_missing() == ()


def test_a_run_that_was_taken_for_dead_and_asks_after_all_asks_alone(
    build: Build, client: SyncPrefectClient
) -> None:
    name = build().submit(2)
    start_missing()
    [late] = known(client, name)
    successor = start_release(name, "it was taken for dead")
    client.set_flow_run_state(successor.id, Suspended(timeout_seconds=60), force=True)
    close_forms(name, late.id)  # as it does before it asks
    ended_by_it = client.read_flow_run(successor.id).state
    assert ended_by_it is not None
    assert (ended_by_it.name, str(late.id) in str(ended_by_it.message)) == ("Replaced", True)
    assert start_missing() == ()


def test_a_queued_release_is_driven_once_the_one_before_it_has_ended(
    build: Build, client: SyncPrefectClient
) -> None:
    made = build()
    second, third = made.submit(2), made.submit(3)
    assert start_missing() == (second,)
    end(client, second, Completed(name="Waiting"))
    made.world.ledger.ask_abort(second, "not this one", made.world.clock.now())
    release(second)
    assert ended(made, second) is Phase.ABORTED
    assert start_missing() == (third,)


def test_an_abort_of_a_held_release_takes_it_back(build: Build) -> None:
    from tests.scenarios.test_held import held  # noqa: PLC0415 - one test of another story

    made, name = held(build)
    made.world.ledger.ask_abort(name, "enough", made.world.clock.now())
    release(name)
    assert ended(made, name) is Phase.ROLLED_BACK
