"""Models on their way, which nobody waits for any more, are dropped from the centre's disk."""

from __future__ import annotations

from datetime import timedelta

from prefect import flow, get_run_logger

from edgefleet.fleet.lifetimes import spent
from edgefleet.settings import Settings
from edgefleet.wiring import world
from tasks.records import champion_of
from tasks.workshop import dropped


@flow(name="tidy", retries=0, persist_result=False)
def tidy() -> tuple[str, ...]:
    """Drop working folders that nobody needed for `EDGEFLEET_KEEP_DAYS`; return which."""
    here, keep = world(), timedelta(days=Settings().keep_days)
    now, releases = here.clock.now(), here.ledger.releases()
    champions = {
        image.digest
        for workload in {release.workload for release in releases}
        if (image := champion_of(workload))
    }
    gone = dropped(here.work_dir, spent(releases, now, keep), champions, now, keep)
    get_run_logger().info("%s folders dropped: %s", len(gone), ", ".join(gone) or "none was due")
    return gone
