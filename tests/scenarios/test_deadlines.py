"""A release that waits for a person: reminders, and what follows when nobody ever decides."""

from __future__ import annotations

from dataclasses import replace

import pytest
from prefect.client.orchestration import SyncPrefectClient

from edgefleet.fleet.release import Phase
from edgefleet.rehearsal import Stage
from edgefleet.spec import Approval
from edgefleet.wiring import installed
from flows.deadlines import keep_deadlines
from flows.release import release
from tests.scenarios.conftest import Build
from tests.scenarios.stories import ended
from tests.scenarios.test_drivers import known
from tests.scenarios.test_held import held


def after(made: Stage, hours: float) -> None:
    made.world.clock.sleep(hours * 3600)


def reminders(made: Stage, release_id: str) -> list[str]:
    lines = [entry.text for entry in made.world.ledger.journal(release_id)]
    return [line for line in lines if line.startswith("reminder")]


def test_a_held_release_about_which_nobody_decides_goes_back(
    build: Build, client: SyncPrefectClient
) -> None:
    made, name = held(build)
    with installed(made.world):
        for hours, sent in ((11, 0), (2, 1), (0, 1), (9, 2), (0, 2)):
            after(made, hours)
            assert keep_deadlines() == ()
            assert len(reminders(made, name)) == sent
        after(made, 3)
        assert keep_deadlines() == (name,)
        assert keep_deadlines() == ()
        assert len(known(client, name)) == 2, "the one that left it held, and its successor"
        release(name)
    assert ended(made, name) is Phase.ROLLED_BACK
    lines = [entry.text for entry in made.world.ledger.journal(name)]
    assert any("revert, by the deadline: nobody decided" in line for line in lines)


def test_a_question_that_nobody_answers_ends_with_a_no(
    build: Build, client: SyncPrefectClient
) -> None:
    made = build()
    asks = made.spec.model_copy(update={"approval": Approval(before_rollout="required")})
    made = replace(made, spec=asks)
    name = made.submit(2)
    with installed(made.world):
        with pytest.raises(RuntimeError, match="without a deployment"):
            release(name)  # it asks; a run of no deployment cannot be suspended, and dies of it
        assert made.world.ledger.release(name).phase is Phase.AWAITING
        after(made, 71)
        assert keep_deadlines() == ()
        (reminder,) = reminders(made, name)
        assert "the answer is a no" in reminder
        after(made, 2)
        assert keep_deadlines() == (name,)
        assert keep_deadlines() == (name,), "until its driver has acted on it"
        assert len(known(client, name)) == 2, "the one that asked, and one for the deadline"
        release(name)
    assert ended(made, name) is Phase.REJECTED
    lines = [entry.text for entry in made.world.ledger.journal(name)]
    assert any("rejected by the deadline" in line for line in lines)
