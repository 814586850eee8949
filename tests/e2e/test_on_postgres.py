"""The whole thing on one PostgreSQL, which is killed on the way; every server asks who comes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import httpx
import pytest

from edgefleet.edge.contract import Digest
from edgefleet.fleet.release import Phase
from edgefleet.report.gather import ReleaseStory
from edgefleet.settings import Settings
from edgefleet.wiring import endpoints
from tasks.starts import answer
from tests.e2e.quick import write_versions
from tests.e2e.site import NODES, WORKLOAD, Site, a_site, told, wait_for
from tests.postgres import PASSWORD, Postgres, running

pytestmark = [pytest.mark.servers, pytest.mark.timeout(1800)]

FIRST, SECOND = (f"{WORKLOAD}-{number}" for number in (1, 2))
PREFECT_PASSWORD, MLFLOW_PASSWORD = "planted-prefect-password", "planted-mlflow-password"
OUTAGE_REQUESTS = 1000
"""The outage lasts until the cameras have sent so many: ten seconds and more."""


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running() as server:
        yield server


@pytest.fixture(scope="module")
def site(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Given a site on PostgreSQL whose servers ask for passwords, and two versions of one model."""
    folder = tmp_path_factory.mktemp("postgres")
    chosen = {
        "EDGEFLEET_POSTGRES_URL": postgres.url(),
        "EDGEFLEET_PREFECT_AUTH": f"ada:{PREFECT_PASSWORD}",
        "EDGEFLEET_MLFLOW_AUTH": f"ada:{MLFLOW_PASSWORD}",
    }
    with a_site(folder / "home", chosen) as site:
        for version in write_versions(folder / "models", ("graz", "linz"), 2):
            site.edgefleet("register", str(version))
        yield site


@pytest.fixture(scope="module")
def first(site: Site) -> ReleaseStory:
    """When version 1 is released while everything answers."""
    following = site.start("release", WORKLOAD, "--version", "1", "--wait")
    approved(site, FIRST)
    assert told(following)["phase"] == "released", site.how(FIRST)
    return site.story(FIRST)


@pytest.fixture(scope="module")
def second(postgres: Postgres, site: Site, first: ReleaseStory) -> ReleaseStory:
    """When PostgreSQL is killed while the nodes are changed to version 2, and started again."""
    assert first.release.phase is Phase.RELEASED
    following = site.start("release", WORKLOAD, "--version", "2", "--wait")
    approved(site, SECOND)
    wait_for(lambda: rolling(site), lambda: site.how(SECOND))
    postgres.kill()
    sent = site.plant().totals.requests
    wait_for(
        lambda: site.plant().totals.requests > sent + OUTAGE_REQUESTS,
        lambda: "the cameras send nothing",
    )
    postgres.start()
    assert told(following)["phase"] == "released", site.how(SECOND)
    return site.story(SECOND)


def approved(site: Site, release_id: str) -> None:
    answer(site.asked(release_id), "approve", "Ada", "tried on line 3")
    answer(site.asked(release_id, Phase.CONFIRMING), "approve", "Ada", "go on")


def rolling(site: Site) -> bool:
    current = site.release(SECOND)
    assert current.live, site.how(SECOND)
    return current.phase is Phase.ROLLING


def digest_of(story: ReleaseStory) -> Digest:
    assert story.package is not None
    return story.package.digest


def tables(postgres: Postgres, database: str) -> set[str]:
    query = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    with closing(postgres.login(database)) as connection:
        return {str(name) for (name,) in connection.execute(query)}


def test_a_release_goes_out_on_postgresql_and_none_of_it_is_in_a_file_of_sqlite(
    postgres: Postgres, site: Site, first: ReleaseStory
) -> None:
    assert first.release.phase is Phase.RELEASED
    assert {"releases", "alembic_version"} <= tables(postgres, "edgefleet_ledger")
    assert "flow_run" in tables(postgres, "edgefleet_prefect")
    assert "model_versions" in tables(postgres, "edgefleet_mlflow")
    centre = (site.home, site.home / "prefect", site.home / "mlflow")
    # Whom MLflow lets in it keeps in a file of its own (docs/access.md).
    files = [file.name for folder in centre for file in folder.glob("*.db")]
    assert files == ["basic_auth.db"]


def test_nobody_is_let_in_without_a_password(site: Site) -> None:
    mlflow = endpoints(Settings())["mlflow_url"]
    for url in (f"{site.api}/admin/version", f"{mlflow}/api/2.0/mlflow/registered-models/search"):
        assert httpx.get(url, trust_env=False, timeout=60).status_code == 401, url


def test_a_database_that_was_killed_delays_a_release_and_loses_nothing(
    site: Site, first: ReleaseStory, second: ReleaseStory
) -> None:
    assert second.release.phase is Phase.RELEASED
    old, new = digest_of(first), digest_of(second)
    changed = Counter(
        cutover.node
        for cutover in site.plant().cutovers
        if (old, new) == (cutover.old, cutover.new)
    )
    assert changed == {view.node: 1 for view in site.nodes()}
    assert site.serving(new) == NODES
    assert site.plant().totals.lost == 0


@pytest.mark.usefixtures("second")
def test_no_password_is_in_an_argument_a_log_or_a_file(site: Site, postgres: Postgres) -> None:
    quoted = postgres.url().split(":")[2].split("@")[0]
    planted = [word.encode() for word in (PASSWORD, quoted, PREFECT_PASSWORD, MLFLOW_PASSWORD)]
    files = {file: file.read_bytes() for file in site.home.rglob("*") if file.is_file()}
    assert len(files) > 100
    seen = {**files, **arguments()}
    assert [where for where, text in seen.items() if any(map(text.__contains__, planted))] == []


def arguments() -> dict[Path, bytes]:
    """Return the command line of every process of this machine."""
    found = {}
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            found[file] = file.read_bytes().replace(b"\0", b" ")
    return found
