"""The whole thing, once: real servers, real nodes, cameras that never pause, and three releases.

Each release goes on from the one before, so it is made once, and looked at by its tests.
"""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgefleet.edge.contract import Digest
from edgefleet.errors import Refused
from edgefleet.fleet.approval import Decision
from edgefleet.fleet.finding import Outcome
from edgefleet.fleet.plan import Plan, plan_hash
from edgefleet.fleet.release import Phase
from edgefleet.report.gather import ReleaseStory
from tasks.records import Drive
from tasks.starts import answer, start_release, suspended_run
from tests.e2e.page import answer_by_click, artifact
from tests.e2e.quick import write_versions
from tests.e2e.site import MODEL, NODES, PLANTED, WORKLOAD, Site, a_site, told, wait_for

pytestmark = [pytest.mark.servers, pytest.mark.timeout(1800)]

FIRST, SECOND, THIRD = (f"{WORKLOAD}-{number}" for number in (1, 2, 3))
PICTURES = os.environ.get("EDGEFLEET_SCREENSHOTS")
"""Where `make screenshots` wants them; None: nobody does."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Given a site, and three versions of one model that were registered by command."""
    folder = tmp_path_factory.mktemp("e2e")
    with a_site(folder / "home") as site:
        for version in write_versions(folder / "models", ("graz", "linz"), 3):
            site.edgefleet("register", str(version))
        yield site


@pytest.fixture(scope="module")
def first(site: Site) -> ReleaseStory:
    """When version 1 goes to nodes that serve nothing yet, and is approved through the API."""
    following = site.start("release", WORKLOAD, "--version", "1", "--wait")
    answer(site.asked(FIRST), "approve", "Ada", "the first model for this line")
    confirmed = site.asked(FIRST, Phase.CONFIRMING)
    answer(confirmed, "approve", "Ada", "the canary's floors are met")
    assert told(following)["phase"] == "released", site.how(FIRST)
    return site.story(FIRST)


@dataclass(frozen=True)
class Second:
    story: ReleaseStory
    form: str
    """What was read on the approval form."""


@pytest.fixture(scope="module")
def second(site: Site, first: ReleaseStory) -> Second:
    """When version 2 follows, is approved by clicks, and its driver is killed in the roll-out."""
    assert first.release.phase is Phase.RELEASED
    following = site.start("release", WORKLOAD, "--version", "2", "--wait")
    run = site.asked(SECOND)
    picture = Path(PICTURES) / "approval-form.png" if PICTURES else None
    form = answer_by_click(site.ui, run.id, "Grace", "tried on line 3 last week", picture)
    confirmed = site.asked(SECOND, Phase.CONFIRMING)
    answer(confirmed, "approve", "Grace", "go on")
    wait_for(lambda: half_rolled(site), lambda: site.how(SECOND))
    os.kill(site.process_of(run), signal.SIGKILL)
    start_release(SECOND)
    assert told(following)["phase"] == "released", site.how(SECOND)
    return Second(site.story(SECOND), form)


def half_rolled(site: Site) -> bool:
    """Whether nodes beyond the canary serve the new version already, and others do not yet."""
    current = site.release(SECOND)
    assert current.live, site.how(SECOND)
    if current.phase is not Phase.ROLLING:
        return False
    story = site.story(SECOND)
    return len(plan_of(story).waves[0].changes) < site.serving(digest_of(story)) < NODES


def digest_of(story: ReleaseStory) -> Digest:
    assert story.package is not None
    return story.package.digest


def plan_of(story: ReleaseStory) -> Plan:
    assert story.plan is not None
    return story.plan


def outcome_of(story: ReleaseStory) -> Outcome:
    assert story.verdict is not None
    return story.verdict.outcome


def test_a_first_release_is_judged_by_floors_and_has_no_holdback(first: ReleaseStory) -> None:
    assert plan_of(first).first
    assert "holdback" not in [wave.name for wave in plan_of(first).waves]
    assert outcome_of(first) is Outcome.PASS
    assert first.verdict is not None
    assert {metric.name for metric in first.verdict.metrics} == {"errors floor", "accuracy floor"}


def test_the_approval_form_shows_the_model_the_plan_and_what_the_canary_can_show(
    second: Second,
) -> None:
    for text in (
        "defect-classifier version 2",
        "600 samples",
        "Plan: 10 nodes in 2 factories",
        "holdback",
        "What 5 canary nodes can show",
        SECOND,
        plan_hash(plan_of(second.story))[:12],
    ):
        assert text in second.form
    assert "|--" not in second.form, "a table was not rendered"


def test_clicks_on_the_form_approve_the_very_plan_that_it_showed(second: Second) -> None:
    (decision,) = second.story.decisions
    assert (decision.decision, decision.name, decision.comment) == (
        "approve",
        "Grace",
        "tried on line 3 last week",
    )
    assert decision.plan_hash == plan_hash(plan_of(second.story))


@pytest.mark.usefixtures("second")
def test_no_node_but_the_canary_s_changed_before_somebody_said_yes_again(site: Site) -> None:
    for release_id in (FIRST, SECOND):
        drive = Drive(release_id, 0)
        decision = drive.recall("confirmed", 0, Decision)
        assert decision is not None
        assert decision.decision == "approve"
        canary = {change.node for change in plan_of(site.story(release_id)).waves[0].changes}
        new = digest_of(site.story(release_id))
        moved = {
            cutover.node
            for cutover in site.plant().cutovers
            if cutover.new == new and cutover.ready < decision.at.timestamp()
        }
        assert moved <= canary


def test_a_later_release_is_judged_against_the_nodes_that_kept_the_champion(
    second: Second,
) -> None:
    assert outcome_of(second.story) is Outcome.PASS
    names = [wave.name for wave in plan_of(second.story).waves]
    assert names == ["canary", "wave-1", "wave-2", "holdback"]


def test_the_verdict_is_a_page_of_prefect_with_its_numbers_and_pictures(
    site: Site, second: Second
) -> None:
    picture = Path(PICTURES) / "verdict.png" if PICTURES else None
    text, widths = artifact(site.ui, f"verdict-{SECOND}", picture)
    assert "PASS" in text
    assert second.story.verdict is not None
    assert "accuracy" in text
    assert any("Evidence against its boundaries" in said for said in widths)
    assert min(widths.values()) > 300, f"shown too small to be read: {widths}"


def test_after_its_driver_was_killed_every_node_has_changed_exactly_once(
    site: Site, first: ReleaseStory, second: Second
) -> None:
    old, new = digest_of(first), digest_of(second.story)
    changed = Counter(
        cutover.node
        for cutover in site.plant().cutovers
        if (old, new) == (cutover.old, cutover.new)
    )
    assert changed == {view.node: 1 for view in site.nodes()}
    assert len(changed) == NODES


def test_every_node_answers_itself_with_the_new_digest(site: Site, second: Second) -> None:
    assert site.serving(digest_of(second.story)) == NODES


@pytest.mark.usefixtures("second")
def test_no_request_was_lost_on_the_way(site: Site) -> None:
    totals = site.plant().totals
    assert totals.requests > 1000
    assert totals.lost == 0


@pytest.mark.usefixtures("second")
def test_mlflow_says_what_became_of_the_versions(site: Site) -> None:
    versions = {found.version: found for found in site.world.models.versions(MODEL)}
    for version, release_id in (("1", FIRST), ("2", SECOND)):
        assert versions[version].tags["edgefleet.state"] == "released"
        assert versions[version].tags["edgefleet.by"] == release_id
    assert versions["2"].aliases == ("champion",)
    assert versions["1"].aliases == ()


@pytest.fixture(scope="module")
def third(site: Site, second: Second) -> ReleaseStory:
    """When version 3 waits for a person, and its run is cancelled as Prefect's pages do it."""
    assert second.story.release.phase is Phase.RELEASED
    site.edgefleet("release", WORKLOAD, "--version", "3")
    site.cancel(site.asked(THIRD))
    wait_for(lambda: not site.release(THIRD).live, lambda: site.how(THIRD))
    return site.story(THIRD)


def test_cancel_in_prefect_s_pages_aborts_the_release_and_no_node_has_moved(
    site: Site, second: Second, third: ReleaseStory
) -> None:
    assert third.release.phase is Phase.ABORTED
    assert third.release.abort_asked == "cancelled in Prefect"
    assert {digest_of(second.story)} == {view.ordered for view in site.nodes()}
    assert site.serving(digest_of(second.story)) == NODES


@pytest.mark.usefixtures("third")
def test_an_abort_by_command_takes_the_open_form_away(site: Site) -> None:
    made = site.edgefleet("release", WORKLOAD, "--version", "3", "--again", "another try")
    fourth = str(made["release_id"])
    run = site.asked(fourth)
    site.edgefleet("abort", fourth, "--reason", "not today")
    wait_for(lambda: not site.release(fourth).live, lambda: site.how(fourth))
    assert site.release(fourth).phase is Phase.ABORTED
    assert suspended_run(fourth) is None
    with pytest.raises(Refused, match="not taken"):
        answer(run, "approve", "Ada", "too late")


@pytest.mark.usefixtures("third")
def test_deployed_again_every_automation_is_there_once(site: Site) -> None:
    site.deploy()
    ours = [name for name in site.automations() if not name.startswith("edgefleet tells")]
    assert sorted(ours) == [
        "a driver that crashed is followed by another",
        "a registration is looked at",
        "cancel means abort",
    ]


@pytest.mark.usefixtures("third")
def test_no_secret_is_in_anything_that_was_stored(site: Site) -> None:
    files = [file for file in site.home.rglob("*") if file.is_file()]
    kinds = {file.suffix for file in files}
    assert {".db", ".log"} <= kinds, f"the servers' databases and logs are not there: {kinds}"
    for word in PLANTED.values():
        secret = re.search(r"planted-[a-z-]+", word)
        assert secret is not None
        found = [file.name for file in files if secret[0].encode() in file.read_bytes()]
        assert found == []
