"""Given a spec that asks a person again after the canary, then no other node moves without a yes.

The click itself is made on a real server in tests/e2e; here the answer is in the ledger already, as
it is for a driver that was killed right after it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import msgspec

from edgefleet.fleet.approval import ApprovalRequest, Decision
from edgefleet.fleet.plan import Plan
from edgefleet.fleet.release import Phase
from edgefleet.rehearsal import Stage
from edgefleet.spec import Approval
from tasks.records import needed
from tests.scenarios.conftest import SPEC, Build
from tests.scenarios.stories import changed, ended, meanwhile, package, serving
from tests.scenarios.test_held import SHORT

When = Literal["required", "on_inconclusive"]
Answer = Callable[[Stage], tuple[str, object]]
"""What lies in the ledger by the time the question is asked: kind and document."""


def approved(made: Stage) -> tuple[str, object]:
    return "confirmed", Decision("approve", "Ada", "", "", made.world.clock.now())


def rejected(made: Stage) -> tuple[str, object]:
    return "confirmed", Decision("reject", "Ada", "", "", made.world.clock.now())


def too_late(made: Stage) -> tuple[str, object]:
    now = made.world.clock.now()
    return "confirmation", ApprovalRequest("", now, now)


def driven(
    build: Build, answer: Answer, about: When = "required", spec: str = SPEC
) -> tuple[Stage, str, list[int]]:
    """Drive version 2; return how many nodes had it when the question was asked."""
    made = build(spec=spec)
    asks = made.spec.model_copy(
        update={"approval": Approval(before_rollout="auto", before_fleet=about)}
    )
    made = replace(made, spec=asks)
    second = made.submit(2)
    ledger = made.world.ledger
    had: list[int] = []

    def answered() -> None:
        kind, document = answer(made)
        epoch = ledger.release(second).epoch
        ledger.put(second, kind, 0, msgspec.json.encode(document), epoch)
        had.append(serving(made)[package(second)])

    meanwhile(made, second, Phase.CONFIRMING, answered)
    return made, second, had


def test_after_a_yes_the_fleet_follows(build: Build) -> None:
    made, second, had = driven(build, approved)
    canary = needed(second, "plan", 1, Plan).waves[0].changes
    assert had == [len(canary)]
    assert ended(made, second) is Phase.RELEASED
    assert serving(made) == {package(second): 40}


def test_after_a_no_the_canary_goes_back_and_nobody_else_ever_had_it(build: Build) -> None:
    made, second, _ = driven(build, rejected)
    assert ended(made, second) is Phase.ROLLED_BACK
    journal = [entry.text for entry in made.world.ledger.journal(second)]
    assert any("rejected by Ada" in text for text in journal)
    canary = {change.node for change in needed(second, "plan", 1, Plan).waves[0].changes}
    assert changed(made) == dict.fromkeys(canary, 2)  # there and back


def test_no_answer_by_the_deadline_is_a_no(build: Build) -> None:
    made, second, _ = driven(build, too_late)
    assert ended(made, second) is Phase.ROLLED_BACK
    journal = [entry.text for entry in made.world.ledger.journal(second)]
    assert any("rejected by the deadline" in text for text in journal)


def test_where_only_the_unsure_is_asked_about_a_canary_that_passed_goes_on(build: Build) -> None:
    made, second, had = driven(build, rejected, "on_inconclusive")
    assert had == []
    assert ended(made, second) is Phase.RELEASED


def test_a_canary_of_which_nothing_was_shown_is_put_to_a_person_instead_of_held(
    build: Build,
) -> None:
    made, second, had = driven(build, approved, "on_inconclusive", SHORT)
    assert len(had) == 1
    assert ended(made, second) is Phase.RELEASED
    looks = made.world.ledger.all(second, "look")
    assert max(looks) == made.spec.gates.max_windows
    assert serving(made) == {package(second): 40}
