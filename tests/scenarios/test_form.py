"""Given a champion that nodes have pulled, when another comes, then its form says what is known.

The form itself is filled in on a real server in tests/e2e.
"""

from __future__ import annotations

import re
from dataclasses import replace

from edgefleet.adapters.memory.kill import watched
from edgefleet.fleet.approval import ApprovalRequest
from edgefleet.fleet.release import Phase
from edgefleet.rehearsal import Stage
from edgefleet.wiring import installed
from flows.approval import form_of
from flows.release import release
from tasks.records import Drive, needed
from tests.scenarios.conftest import Build


def asked_about(made: Stage, release_id: str) -> str:
    """Drive a release; return the form as it was when its answer was due."""
    ledger = made.world.ledger
    forms: list[str] = []

    def reads(when: str, name: str) -> None:
        if forms or (when, name) != ("after", "SqlLedger.move"):
            return
        current = ledger.release(release_id)
        if current.phase is Phase.AWAITING:
            forms.append("")  # what it reads itself is watched as well
            asked = needed(release_id, "approval", 1, ApprovalRequest)
            forms[0] = form_of(Drive(release_id, current.epoch), 1, asked)

    with installed(replace(made.world, ledger=watched(ledger, reads))):
        release(release_id)
    return forms[0]


def test_the_form_times_the_model_and_its_way_by_those_before_it(build: Build) -> None:
    made = build()
    text = asked_about(made, made.submit(2))
    assert re.search(r"Today's champion, defect-classifier 1, takes \d+\.\d\d ms an image", text)
    rows = re.findall(r"^\| \S+ \| 10 \| (\S+) s \| (\S+) s \|$", text, re.MULTILINE)
    assert len(rows) == 4
    assert all(0 <= float(wan) < float(last) for wan, last in rows)
    assert "as quick as in `defect-detection-1`." in text
    assert re.search(r"^\| 1 \| released \|", text, re.MULTILINE)
