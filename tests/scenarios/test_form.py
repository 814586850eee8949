"""Given a champion that nodes have pulled, when another comes, then its form says what is known.

The form itself is filled in on a real server in tests/e2e.
"""

from __future__ import annotations

import re

from edgefleet.fleet.approval import ApprovalRequest
from edgefleet.fleet.release import Phase
from edgefleet.rehearsal import Stage
from flows.approval import form_of
from tasks.records import Drive, needed
from tests.scenarios.conftest import Build
from tests.scenarios.stories import meanwhile


def asked_about(made: Stage, release_id: str) -> str:
    """Drive a release; return the form as it was when its answer was due."""
    forms: list[str] = []

    def read() -> None:
        asked = needed(release_id, "approval", 1, ApprovalRequest)
        epoch = made.world.ledger.release(release_id).epoch
        forms.append(form_of(Drive(release_id, epoch), 1, asked))

    meanwhile(made, release_id, Phase.AWAITING, read)
    [form] = forms
    return form


def test_the_form_times_the_model_and_its_way_by_those_before_it(build: Build) -> None:
    made = build()
    text = asked_about(made, made.submit(2))
    assert re.search(r"Today's champion, defect-classifier 1, takes \d+\.\d\d ms an image", text)
    rows = re.findall(r"^\| \S+ \| 10 \| (\S+) s \| (\S+) s \|$", text, re.MULTILINE)
    assert len(rows) == 4
    assert all(0 <= float(wan) < float(last) for wan, last in rows)
    assert "as quick as in `defect-detection-1`." in text
    assert re.search(r"^\| 1 \| released \|", text, re.MULTILINE)
