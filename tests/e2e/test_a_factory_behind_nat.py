"""A factory that nobody can dial: its own worker takes signed orders, one at a time, or none.

Real servers and nodes: Prefect, a worker on a pool of its own with a home of its own, two
factories of edge servers. The centre has no way to the second factory but Prefect.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import WorkPoolFilter, WorkPoolFilterName
from prefect.client.schemas.objects import FlowRun
from prefect.events.worker import EventsWorker
from prefect.settings import PREFECT_API_URL, temporary_settings

from edgefleet import wiring
from edgefleet.adapters.memory.models import MemoryModels
from edgefleet.adapters.scrape import Scrape
from edgefleet.adapters.servers import prefect_worker, running, supervised
from edgefleet.cli.local import load_fleet, programs
from edgefleet.documents import decode
from edgefleet.fleet.inventory import Change, NodeView
from edgefleet.fleet.order import Answer, ChangeNodes, Errand, Look
from edgefleet.fleet.plan import Plan
from edgefleet.fleet.release import Admission, Phase
from edgefleet.fleet.stage import Fate
from edgefleet.model.dsse import seal
from edgefleet.model.signature import KEY_FILE, make_key
from edgefleet.settings import Settings
from edgefleet.spec import load_spec
from edgefleet.wiring import Worker, World, installed
from tasks import workers
from tasks.deployments import deploy_factories
from tasks.sites import look_around
from tasks.starts import start
from tests.e2e.quick import write_versions
from tests.e2e.site import HERE, WORKLOAD, wait_for

pytestmark = [pytest.mark.servers, pytest.mark.timeout(900)]

NEAR, FAR = "graz", "linz"
FAR_NODES = 5


@dataclass(frozen=True)
class Plant:
    """What is up."""

    world: World
    folder: Path
    far_home: Path

    def nodes(self) -> dict[str, NodeView]:
        return {view.node: view for view in look_around(WORKLOAD).nodes}

    def release(self, model: Path) -> str:
        """Register a version and drive its release to the end."""
        from flows.release import release  # noqa: PLC0415 - once Prefect's server is up

        version = self.world.models.register(model, {}).version
        spec = load_spec(HERE / "specs" / "defect-detection.yaml")
        spec = spec.model_copy(update={"approval": spec.approval.model_copy(update=AUTO)})
        admission = Admission(
            workload=WORKLOAD,
            fleet=spec.fleet,
            model=spec.model,
            version=version,
            asked_by="test",
            spec=yaml.safe_dump(spec.model_dump(mode="json")),
        )
        admitted, _ = self.world.ledger.admit(admission, datetime.now(UTC))
        release(admitted.release_id)
        return admitted.release_id

    def how(self, release_id: str) -> str:
        lines = self.world.ledger.journal(release_id)
        return "\n".join(f"{entry.at:%H:%M:%S} {entry.phase} {entry.text}" for entry in lines)

    def runs(self) -> list[FlowRun]:
        """Return the orders that the factory's worker was sent."""
        with get_client(sync_client=True) as client:
            mine = WorkPoolFilter(name=WorkPoolFilterName(any_=[FAR]))
            return client.read_flow_runs(work_pool_filter=mine, limit=200)

    def sent(self, key: Path, errand: Errand) -> Answer:
        """Send an order without waiting for it as a release does; return the worker's answer."""
        sealed = seal(msgspec.json.encode(errand), workers.ERRAND, key)
        run = start(f"factory/{FAR}", {"errand": sealed}, f"test-{datetime.now(UTC)}")

        def ended() -> bool:
            with get_client(sync_client=True) as client:
                state = client.read_flow_run(run.id).state
            return state is not None and state.is_final()

        wait_for(ended, lambda: f"{run.name} has not ended")
        with get_client(sync_client=True) as client:
            found = workers.answer_of(client, run.id)
        assert found is not None
        return found


AUTO = {"before_rollout": "auto", "before_fleet": "auto"}


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    folder = tmp_path_factory.mktemp("nat")
    home, far_home = folder / "home", folder / "far"
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("EDGEFLEET_", "PREFECT_")):
                patch.delenv(name)
        patch.setenv("EDGEFLEET_HOME", str(home))
        settings = Settings()
        wanted = [
            program
            for program in programs(settings, load_fleet(HERE / "fleet.yaml"))
            if program.name not in {"mlflow", "worker"}
        ]
        with supervised(home, wanted) as endpoints:
            api = endpoints.prefect_api
            with temporary_settings({PREFECT_API_URL: api}), central(settings) as world:
                deploy_factories(world.workers)
                # The factory trusts the centre's key, and has nothing else of it.
                trust = far_home / "keys" / "trust"
                trust.mkdir(parents=True)
                for key in (home / "keys" / "trust").iterdir():
                    (trust / key.name).write_bytes(key.read_bytes())
                url = (home / "fleet" / "supervisor.json").read_text()
                supervisor = msgspec.json.decode(url, type=dict[str, object])["url"]
                worker = prefect_worker(far_home, FAR)
                here = {"PREFECT_API_URL": api, "EDGEFLEET_SUPERVISOR_URL": str(supervisor)}
                ready = tuple(u.replace("{prefect_api}", api) for u in worker.ready_urls)
                worker = replace(worker, env={**worker.env, **here}, after=(), ready_urls=ready)
                with supervised(far_home, (worker,)):
                    yield Plant(world, folder, far_home)
                    # Else what sends them waits for this server, and the next one gets none.
                    EventsWorker.drain_all()


@contextmanager
def central(settings: Settings) -> Iterator[World]:
    """Install a world that has one factory's site only, and the other one's worker."""
    ledger, images = wiring.ledger(settings), wiring.images(settings)
    reached = wiring.sites(settings, ledger, images)
    world = World(
        clock=wiring.WallClock(),
        ledger=ledger,
        models=MemoryModels(wiring.WallClock()),
        images=images,
        telemetry=Scrape(),
        sites={NEAR: reached[NEAR]},
        workers={FAR: Worker(FAR)},
        key_dir=wiring.key_dir(settings),
        work_dir=settings.home / "work",
    )
    with installed(world):
        yield world


@pytest.fixture(scope="module")
def released(plant: Plant, tmp_path_factory: pytest.TempPathFactory) -> str:
    (model,) = write_versions(tmp_path_factory.mktemp("models"), (NEAR, FAR), 1)
    return plant.release(model)


def test_a_release_reaches_the_factory_by_its_worker_one_run_for_a_stage(
    plant: Plant, released: str
) -> None:
    assert plant.world.ledger.release(released).phase is Phase.RELEASED, plant.how(released)
    views = [view for view in plant.nodes().values() if view.factory == FAR]
    assert len(views) == FAR_NODES
    assert len({view.serving.digest if view.serving else None for view in views}) == 1
    assert all(view.serving and view.serving.ready for view in views)
    kinds = Counter(run.name.split()[0] for run in plant.runs())
    made = plant.world.ledger.get(released, "plan", 1)
    assert made is not None
    waves = decode(made, Plan).waves
    touching = [wave for wave in waves if any(c.factory == FAR for c in wave.changes)]
    assert kinds["change"] == len(touching)
    assert kinds["prepull"] == kinds["let-go"] == 1


def test_an_order_under_another_key_is_refused(plant: Plant, tmp_path: Path) -> None:
    make_key(tmp_path)
    order = Errand(FAR, Look(WORKLOAD), datetime.now(UTC) + timedelta(minutes=5))
    answer = plant.sent(tmp_path / KEY_FILE, order)
    assert answer.found is None
    assert "signed by none of the trusted keys" in answer.refused


@pytest.mark.usefixtures("released")
def test_a_stale_order_moves_nothing_when_the_worker_is_back(plant: Plant) -> None:
    before = plant.nodes()
    node = next(view for view in before.values() if view.factory == FAR)
    change = Change(WORKLOAD, node.node, FAR, None, node.ordered, 10_000)
    late = datetime.now(UTC) - timedelta(hours=1)
    answer = plant.sent(
        plant.world.key_dir / KEY_FILE, Errand(FAR, ChangeNodes((change,), 1, 60), late)
    )
    assert answer.found is None
    assert "was to be begun by" in answer.refused
    plant.world.workers[FAR].seen.clear()
    assert plant.nodes()[node.node].ordered == node.ordered


@pytest.mark.usefixtures("released")
def test_an_order_that_no_worker_takes_is_deferred_and_never_begun(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "BEGIN_S", 3.0)
    node = next(view for view in plant.nodes().values() if view.factory == FAR)
    change = Change(WORKLOAD, node.node, FAR, None, node.ordered, 10_000)
    pid = running(plant.far_home)["worker"]
    os.kill(pid, signal.SIGSTOP)
    try:
        found = workers.send(FAR, ChangeNodes((change,), 1, 60))
    finally:
        os.kill(pid, signal.SIGCONT)
    assert found.report is not None
    (report,) = found.report.nodes
    assert report.fate is Fate.DEFERRED
    assert "did not carry out" in report.reason
    monkeypatch.undo()
    plant.world.workers[FAR].seen.clear()
    assert plant.nodes()[node.node].ordered == node.ordered  # the worker is back: it was asked
    assert [run.name for run in plant.runs() if run.state and run.state.is_cancelled()]
