"""Parts of a site that die under a release, and what became of it: the tools of test_parts_die.py.

A driver is whoever holds the workload's lease, by the ledger's word: Prefect may be what is dead.
"""

from __future__ import annotations

import signal
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName
from prefect.client.schemas.objects import FlowRun

from edgefleet.adapters.servers import kernel
from edgefleet.adapters.servers.record import read_records
from edgefleet.cli.admission import admitted
from edgefleet.fleet.drivers import NO_LEASE, Lease
from edgefleet.fleet.plan import Plan
from edgefleet.fleet.release import TO_THE_FLEET, Phase, Release
from edgefleet.settings import Settings
from edgefleet.spec import load_spec
from tasks.starts import start_release
from tests.e2e.site import HERE, WORKLOAD, Site, wait_for

FLEET = HERE / "fleet.yaml"
ASKING = "approval: {before_fleet: required}"
NOT_ASKING = "approval: {before_rollout: auto, before_fleet: auto}"
OUTAGE_REQUESTS = 1000
"""An outage lasts until the cameras have sent so many: ten seconds and more."""


def spec_without_questions(folder: Path) -> Path:
    """Write the spec for releases that need nobody; return its folder."""
    text = (HERE / "specs" / f"{WORKLOAD}.yaml").read_text(encoding="utf-8")
    assert ASKING in text
    folder.mkdir()
    (folder / f"{WORKLOAD}.yaml").write_text(text.replace(ASKING, NOT_ASKING), encoding="utf-8")
    return folder


@dataclass
class Story:
    """One release on a site, from its admission on."""

    site: Site
    release_id: str
    lost_before: int
    """Requests that were lost before it."""

    @property
    def now(self) -> Release:
        return self.site.release(self.release_id)

    @property
    def lease(self) -> Lease:
        return self.site.world.ledger.leases().get(WORKLOAD, NO_LEASE)

    @property
    def plan(self) -> Plan:
        plan = self.site.story(self.release_id).plan
        assert plan is not None
        return plan

    def how(self) -> str:
        return self.site.how(self.release_id)

    def says(self, words: str) -> bool:
        return words in self.how()

    def runs(self) -> list[FlowRun]:
        named = FlowRunFilter(name=FlowRunFilterName(any_=[self.release_id]))
        with get_client(sync_client=True) as client:
            return client.read_flow_runs(flow_run_filter=named)

    def driver(self, above: int = 0) -> tuple[int, int] | None:
        """Return epoch and process of who drives it under an epoch above one; None: nobody.

        The lease is taken by reconcile too, in a process that no run of the release has.
        """
        lease = self.lease
        if not lease.holder or lease.epoch <= above:
            return None
        pid = int(lease.holder.split("/")[1])
        return (lease.epoch, pid) if run_in(pid) in {str(run.id) for run in self.runs()} else None

    def driven(self, above: int = 0) -> tuple[int, int]:
        """Wait until somebody drives it; return epoch and process."""
        return wait_for(lambda: self.driver(above), self.how)

    def reaches(self, phase: Phase) -> None:
        """Wait until it is in a phase, or past it."""

        def reached() -> bool:
            current = self.now.phase
            assert current in TO_THE_FLEET, self.how()
            return TO_THE_FLEET.index(current) >= TO_THE_FLEET.index(phase)

        wait_for(reached, self.how)

    def half_rolled(self) -> None:
        """Wait until nodes beyond the canary serve the new version, and others do not yet."""
        self.reaches(Phase.ROLLING)
        made = self.plan
        canary, everybody = len(made.waves[0].changes), sum(len(w.changes) for w in made.waves)

        def rolled() -> bool:
            assert self.now.live, f"ended before anybody saw it half rolled: {self.how()}"
            return canary < self.site.serving(made.want) < everybody

        wait_for(rolled, self.how)

    def seconds_in(self) -> Mapping[Phase, float]:
        """Return how long it was in each phase that it left."""
        lines = self.site.world.ledger.journal(self.release_id)
        spent: dict[Phase, float] = defaultdict(float)
        for line, after in pairwise(lines):
            spent[Phase(line.phase)] += (after.at - line.at).total_seconds()
        return spent

    def ends(self) -> None:
        """Wait for the end and look at it: every node went over once, and nothing was lost."""
        wait_for(lambda: not self.now.live, self.how)
        assert self.now.phase is Phase.RELEASED, self.how()
        made, nodes = self.plan, {view.node for view in self.site.nodes()}
        since = self.now.admitted_at.timestamp()
        plant = self.site.plant()
        changed = Counter(c.node for c in plant.cutovers if c.ready > since)
        started = {change.node for wave in made.waves for change in wave.changes if not change.was}
        assert changed == Counter(nodes - started), self.how()
        assert self.site.serving(made.want) == len(nodes)
        assert plant.totals.lost == self.lost_before, self.how()


def admit(site: Site, version: int) -> Story:
    """Admit a release of a version once more, without asking its registry: nobody drives it yet."""
    settings = Settings()
    file = settings.spec_file(WORKLOAD)
    text = file.read_text(encoding="utf-8")
    lost = site.plant().totals.lost
    made, new = admitted(load_spec(file), text, str(version), "test", uuid4().hex[:8])
    assert new
    return Story(site, made.release_id, lost)


def begin(site: Site, version: int) -> Story:
    """Admit a release, and start its first driver."""
    story = admit(site, version)
    start_release(story.release_id)
    return story


def run_in(pid: int) -> str:
    """Return the flow run that a process was started for; empty: none, or it has ended."""
    try:
        words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return ""
    name = b"PREFECT__FLOW_RUN_ID="
    return next((word.removeprefix(name).decode() for word in words if word.startswith(name)), "")


def kill(site: Site, program: str) -> None:
    """Kill a program of the site, and all that descends from it: of a worker, its flows too."""
    mark = read_records(site.home / "run")[program].mark
    while family := kernel.family(mark):
        for process in family:
            process.send(signal.SIGKILL)


def up(site: Site) -> None:
    """Do what the operator does: whatever runs is left alone, the rest is started again."""
    site.edgefleet("up", "--fleet", str(FLEET))


def outage(site: Site) -> None:
    """Wait until the cameras have sent so many images as in ten seconds and more."""
    sent = site.plant().totals.requests
    wait_for(
        lambda: site.plant().totals.requests > sent + OUTAGE_REQUESTS,
        lambda: "the cameras send nothing",
    )
