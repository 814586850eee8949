"""The demo's stories, in order, on a home of its own that is made anew each time."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from prefect.client.schemas.objects import FlowRun
from rich.console import Console

from edgefleet import wiring
from edgefleet.adapters.servers import supervised
from edgefleet.cli.admission import admitted
from edgefleet.cli.demo import Approve
from edgefleet.cli.demo.live import LiveView
from edgefleet.cli.demo.verdicts import checks
from edgefleet.cli.deploying import deploy_everything, in_prefect
from edgefleet.cli.here import prefect_at
from edgefleet.cli.local import FLEET_FILE, load_fleet, programs
from edgefleet.errors import Refused
from edgefleet.fleet.inventory import Inventory
from edgefleet.fleet.release import Phase
from edgefleet.machine import machine
from edgefleet.plant.record import read
from edgefleet.report.gather import gather
from edgefleet.report.page import page
from edgefleet.report.shown import Report, StoryResult
from edgefleet.settings import Settings
from edgefleet.spec import load_spec
from tasks.drivers import start_missing
from tasks.sites import look_around
from tasks.starts import (
    answer,
    run_ended,
    start_training,
    suspended_run,
)

WORKLOAD: Final = "defect-detection"
_ELSEWHERE: Final = (
    "CLUSTERS",
    "IMAGES_DIR",
    "KEY_DIR",
    "LEDGER_URL",
    "MLFLOW_URL",
    "NOTIFY_URL",
    "POSTGRES_URL",
    "PROMETHEUS_URL",
    "REGISTRY_URL",
    "SUPERVISOR_URL",
)
"""Settings that name what is outside the home."""
_POLL_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Story:
    """One release, and how it should end."""

    title: str
    recipe: str
    decision: Literal["approve", "reject"]
    comment: str
    expected: Phase


STORIES: Final = (
    Story(
        "The workload's first release, by absolute floors",
        "first",
        "approve",
        "the first model for this line",
        Phase.RELEASED,
    ),
    Story(
        "1. A good version goes out",
        "better",
        "approve",
        "better on every line",
        Phase.RELEASED,
    ),
    Story(
        "2. Worse in the field, not in the lab: the canary catches it",
        "field-blind",
        "approve",
        "fine on the validation set",
        Phase.ROLLED_BACK,
    ),
    Story(
        "3a. INT8 ruins it, leaving the guilty nodes in float repairs it",
        "repairable",
        "reject",
        "shown; the line keeps what it has",
        Phase.REJECTED,
    ),
    Story(
        "3b. INT8 ruins it beyond repair",
        "beyond-repair",
        "reject",
        "never asked",
        Phase.REFUSED,
    ),
)


def tell(home: Path, approve: Approve, console: Console) -> tuple[Report, Path]:
    """Tell every story, shown on `console`, and write the report; return it and its page."""
    shutil.rmtree(home, ignore_errors=True)
    fleet = load_fleet(FLEET_FILE)
    begun = datetime.now(UTC)
    nodes = sum(len(factory.nodes) for factory in fleet.factories)
    console.print(f"starting Prefect, MLflow and {nodes} nodes in {len(fleet.factories)} factories")
    os.environ.update(alone(home))
    settings = Settings()
    with supervised(home, programs(settings, fleet)) as endpoints:
        api = endpoints.prefect_api
        os.environ.update(in_prefect(settings, api))
        deploy_everything(settings, api)
        with prefect_at(settings, api):
            results = _told(settings, endpoints.known, approve, console)
    plant = read(home / "fleet")
    report = Report(
        title="edgefleet demo",
        started=begun,
        ended=datetime.now(UTC),
        machine=machine(),
        window_s=fleet.window_s,
        stories=results,
        plant=plant,
        checks=checks(results, len(STORIES), plant),
    )
    file = home / "report.html"
    file.write_text(page(report), encoding="utf-8")
    return report, file


def alone(home: Path) -> Mapping[str, str]:
    """Return the environment in which a demo finds its own home, and nothing that is not in it.

    It begins with nothing, and leaves nothing in what others use.
    """
    return {"EDGEFLEET_HOME": str(home), **{f"EDGEFLEET_{name}": "" for name in _ELSEWHERE}}


def _told(
    settings: Settings, endpoints: Mapping[str, str], approve: Approve, console: Console
) -> tuple[StoryResult, ...]:
    here = wiring.world()
    addresses = {"Prefect": endpoints["prefect_ui"], "MLflow": endpoints["mlflow_url"]}
    totals = settings.home / "fleet" / "plant" / "now.json"
    results = []
    with LiveView(addresses, here.ledger, _look, totals, console=console) as view:
        view.story("Training the first model")
        _ended(start_training([STORIES[0].recipe]))
        others = start_training([story.recipe for story in STORIES[1:]])
        for number, story in enumerate(STORIES, 1):
            view.story(story.title)
            _registered(settings, number, others)
            release_id = _released(settings, story, str(number), view, approve)
            current = here.ledger.release(release_id)
            results.append(
                StoryResult(
                    title=story.title,
                    expected=story.expected.value,
                    ended=current.phase.value,
                    ok=current.phase is story.expected,
                    story=gather(here.ledger, release_id),
                )
            )
            if number == 1:
                _show_a_node(view)
            if current.live:
                console.print(f"{release_id} is {current.phase}: later versions wait for a person")
                break
    return tuple(results)


def _show_a_node(view: LiveView) -> None:
    for node in _look().nodes:
        if node.serving:
            view.address(node.node, f"{node.serving.url}/metrics/summary")
            return


def _released(
    settings: Settings, story: Story, version: str, view: LiveView, approve: Approve
) -> str:
    """Release a version, answer its form, and wait until it has ended."""
    file = settings.spec_file(WORKLOAD)
    made, _ = admitted(load_spec(file), file.read_text(encoding="utf-8"), version, "the demo")
    start_missing()
    view.follow(made.release_id)
    ledger = wiring.world().ledger
    answered = False
    while (current := ledger.release(made.release_id)).live and current.phase is not Phase.HELD:
        start_missing()
        run = suspended_run(made.release_id) if current.phase is Phase.AWAITING else None
        if run and approve is Approve.AUTO and not answered:
            answer(run, story.decision, "the demo", story.comment)
            answered = True
        elif run and not answered:
            view.story(f"{story.title}: please {story.decision} in Prefect's UI ({run.name})")
            answered = True
        time.sleep(_POLL_S)
    return made.release_id


def _registered(settings: Settings, versions: int, training: FlowRun) -> None:
    """Wait until so many versions are registered."""
    model = load_spec(settings.spec_file(WORKLOAD)).model
    while len(wiring.world().models.versions(model)) < versions:
        if run_ended(training) and len(wiring.world().models.versions(model)) < versions:
            raise Refused(
                f"flow run {training.name}", f"registered fewer than {versions}", "See it"
            )
        time.sleep(_POLL_S)


def _ended(run: FlowRun) -> None:
    while not run_ended(run):
        time.sleep(_POLL_S)


def _look() -> Inventory:
    return look_around(WORKLOAD)
