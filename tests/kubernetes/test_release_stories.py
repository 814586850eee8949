"""Whole releases on real nodes: the flow, a registry, kubelets, cameras that never pause.

One central cluster with two factories of two nodes each, told apart by labels. Each story goes on
from the one before, so they run in this order, once, and are looked at by their tests.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from edgefleet import wiring
from edgefleet.adapters.kubernetes.site import KubernetesSite
from edgefleet.adapters.memory.kill import watched
from edgefleet.adapters.memory.models import MemoryModels
from edgefleet.adapters.scrape import Scrape
from edgefleet.cli.own_prefect import own_prefect
from edgefleet.edge.contract import Digest
from edgefleet.fleet.finding import Outcome
from edgefleet.fleet.inventory import NodeView
from edgefleet.fleet.manifest_names import WORKLOAD
from edgefleet.fleet.release import Admission, Phase, Release
from edgefleet.lab import Quantization
from edgefleet.model.signature import make_key
from edgefleet.plant.config import PlantConfig
from edgefleet.plant.record import Bucket, PlantRecord, read
from edgefleet.report.gather import ReleaseStory, gather
from edgefleet.settings import Settings
from edgefleet.spec import Spec, parse_spec
from edgefleet.wiring import WallClock, World, installed
from tests.e2e.quick import write_field_blind, write_ruined, write_versions
from tests.kubernetes.cameras import Line, cameras
from tests.kubernetes.cluster.factory import NAMESPACE, PREFIX, ROOT, Factory, running
from tests.kubernetes.cluster.remains import wait_for

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(900)]

JOB = "defect-detection"
NODE_PORT = 30080
FACTORIES = ("graz", "porto")
"""Two whose light a model that knows the lab only cannot bear."""
NODES = 4
LOOKED_AT = 200
"""Requests around each cut-over."""
LOOKED_AT_ALL = 20_000
"""Requests that the whole story must have seen, once every node serves."""
SPEC = """
workload: defect-detection
model: defect-classifier
selector: {line: camera}
approval: {before_rollout: auto}
quantization: {max_drop_pt: 5.0, min_speedup: 1.0, max_evaluations: 2, max_s: 20}
validation: {min_accuracy: 0.4, max_loss_to_best_pt: 5.0}
canary: {fraction: 0.25, min_nodes: 1}
prepull: {nodes_at_once: 2, starts_per_min: 600}
waves: {shares: [1.0], holdback: 0.25, at_once_per_factory: 1, windows: 1}
gates:
  window_s: 2
  min_windows: 4
  max_windows: 60
  pre_windows: 10
  alpha_pass: 0.2
  shadow_rate: 0.5
  accuracy: {margin_pt: 10}
  latency: {quantiles: []}  # four nodes can show nothing about it
  errors: {margin_pt: 5}
  floors: {accuracy: 0.15, error_rate: 0.05}
  min_requests: 200
  min_labels: 30
"""


@dataclass(frozen=True)
class Plant:
    """The cluster, the world of its releases, and what the cameras live through."""

    factory: Factory
    world: World
    folder: Path

    def submit(self, model: Path, **changes: object) -> str:
        """Register a version and admit it; return the release's id."""
        version = self.world.models.register(model, {}).version
        spec = spec_with(**changes)
        admission = Admission(
            workload=spec.workload,
            fleet=spec.fleet,
            model=spec.model,
            version=version,
            asked_by="test",
            spec=yaml.safe_dump(spec.model_dump(mode="json")),
        )
        return self.world.ledger.admit(admission, datetime.now(UTC))[0].release_id

    def release(self, release_id: str) -> ReleaseStory:
        """Drive a release to its end."""
        from flows.release import release  # noqa: PLC0415 - once Prefect's server is up

        release(release_id)
        return gather(self.world.ledger, release_id)

    def current(self, release_id: str) -> Release:
        return self.world.ledger.release(release_id)

    def views(self) -> list[NodeView]:
        return [view for site in self.world.sites.values() for view in site.snapshot(JOB)]

    def serving(self) -> set[Digest | None]:
        return {view.serving.digest if view.serving else None for view in self.views()}

    def calls(self) -> Counter[str]:
        """Return how often edgefleet used which of its rights."""
        site = self.world.sites[FACTORIES[0]]
        assert isinstance(site, KubernetesSite)
        return site.cluster.api.calls

    def record(self) -> PlantRecord:
        return read(self.folder / "plant")

    def how(self, release_id: str) -> str:
        lines = self.world.ledger.journal(release_id)
        return "\n".join(f"{entry.at:%H:%M:%S} {entry.phase} {entry.text}" for entry in lines)


def spec_with(**changes: object) -> Spec:
    return parse_spec(SPEC, "test").model_copy(update=changes)


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """Given four nodes, cameras on each, and nothing that serves yet."""
    if os.geteuid() != 0:
        pytest.skip("namespaces and containers need root")
    folder = tmp_path_factory.mktemp("stories")
    with running("central", 0) as factory, pytest.MonkeyPatch.context() as patch, own_prefect():
        for number in range(NODES):
            factory.add_node(line="camera", factory=FACTORIES[number % 2])
        make_key(folder / "keys")
        clusters = folder / "clusters.yaml"
        clusters.write_text(yaml.safe_dump(described(factory)))
        patch.setenv("EDGEFLEET_HOME", str(folder / "home"))
        patch.setenv("EDGEFLEET_CLUSTERS", str(clusters))
        patch.setenv("EDGEFLEET_REGISTRY_URL", f"{factory.registry.url}/{PREFIX}")
        patch.setenv("EDGEFLEET_KEY_DIR", str(folder / "keys"))
        settings = Settings()
        ledger, registry = wiring.ledger(settings), wiring.registry(settings)
        opened = wiring.sites(settings, ledger, registry)
        world = World(
            clock=WallClock(),
            ledger=ledger,
            models=MemoryModels(WallClock()),
            images=registry,
            telemetry=Scrape(),
            sites=opened,
            key_dir=folder / "keys",
            work_dir=folder / "work",
        )
        config = PlantConfig(
            root=str(folder / "plant"),
            workload=JOB,
            model="defect-classifier",
            busy_hz=60,
            busy_lines=8,
            label_delay_s=0.3,
        )
        lines = [
            Line(
                FACTORIES[number % 2],
                node.name,
                JOB,
                f"http://{node.cable.address}:{NODE_PORT}",
            )
            for number, node in enumerate(factory.nodes)
        ]
        with installed(world), cameras(config, lines):
            yield Plant(factory, world, folder)
        for site in opened.values():
            assert isinstance(site, KubernetesSite)
            site.cluster.close()
        registry.close()


def described(factory: Factory) -> dict[str, object]:
    """Return the content of a clusters' file."""
    pods = {"node_port": NODE_PORT, "window_s": 2.0, "label_rate": 0.3, "threads": 1}
    return {
        "clusters": [
            {
                "name": "central",
                "kubeconfig": str(factory.driver),
                "namespace": NAMESPACE,
                "factories": [{"name": n, "selector": {"factory": n}} for n in FACTORIES],
                "pods": {**pods, "state_path": str(factory.remains.root / "state")},
            }
        ]
    }


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    return write_versions(tmp_path_factory.mktemp("models"), FACTORIES, 5)


@pytest.fixture(scope="module")
def first(plant: Plant, versions: tuple[Path, ...]) -> ReleaseStory:
    story = plant.release(plant.submit(versions[0]))
    assert story.release.phase is Phase.RELEASED, plant.how(story.release.release_id)
    return story


@pytest.fixture(scope="module")
def good(plant: Plant, first: ReleaseStory, versions: tuple[Path, ...]) -> ReleaseStory:
    assert first.release.phase is Phase.RELEASED
    story = plant.release(plant.submit(versions[1]))
    assert story.release.phase is Phase.RELEASED, plant.how(story.release.release_id)
    return story


def digest_of(story: ReleaseStory) -> Digest:
    assert story.package is not None
    return story.package.digest


def test_a_first_release_reaches_nodes_that_served_nothing(
    plant: Plant, first: ReleaseStory
) -> None:
    assert plant.serving() == {digest_of(first)}
    assert first.verdict is not None
    assert first.verdict.outcome is Outcome.PASS


def test_a_good_version_replaces_it_on_every_node(plant: Plant, good: ReleaseStory) -> None:
    assert plant.serving() == {digest_of(good)}
    assert good.verdict is not None
    assert good.verdict.outcome is Outcome.PASS
    assert good.plan is not None
    assert [wave.name for wave in good.plan.waves] == ["canary", "wave-1", "holdback"]


def test_the_requests_around_every_cut_over_were_all_answered(
    plant: Plant, first: ReleaseStory, good: ReleaseStory
) -> None:
    old, new = (digest_of(story).removeprefix("sha256:")[:12] for story in (first, good))

    def seen() -> list[int]:
        cameras = plant.record().cameras.values()
        return [sum(bucket.by.get(new, 0) for bucket in buckets) for buckets in cameras]

    # The node that changed last has answered the release before it answers its camera.
    wait_for(lambda: min(seen()) >= LOOKED_AT, "every camera has seen the new version", 60)
    for (_, _, node), buckets in plant.record().cameras.items():
        at = next(index for index, bucket in enumerate(buckets) if new in bucket.by)
        before = nearest(reversed(buckets[:at]), LOOKED_AT // 2)
        after = nearest(buckets[at:], LOOKED_AT // 2)
        assert any(old in bucket.by for bucket in before), f"{node}: nobody saw the change"
        assert [bucket for bucket in (*before, *after) if bucket.failed or bucket.refused] == []
        spans = f"{buckets[at].t - before[-1].t:.1f} s before, {after[-1].t - buckets[at].t:.1f} s"
        print(f"{node}: {LOOKED_AT} requests within {spans} after its cut-over")  # noqa: T201


def nearest(buckets: Iterable[Bucket], requests: int) -> list[Bucket]:
    """Return as many of the first buckets as hold so many requests."""
    found: list[Bucket] = []
    for bucket in buckets:
        if sum(map(requests_in, found)) >= requests:
            return found
        found.append(bucket)
    pytest.fail(f"only {sum(map(requests_in, found))} requests, {requests} are looked at")


def requests_in(bucket: Bucket) -> int:
    return bucket.ok + bucket.failed + bucket.refused


@pytest.fixture(scope="module")
def bad(plant: Plant, good: ReleaseStory, tmp_path_factory: pytest.TempPathFactory) -> ReleaseStory:
    assert good.release.phase is Phase.RELEASED
    model = write_field_blind(tmp_path_factory.mktemp("models") / "blind")
    return plant.release(plant.submit(model))


def test_a_version_that_is_bad_in_the_field_alone_is_caught_by_the_canary(
    plant: Plant, good: ReleaseStory, bad: ReleaseStory
) -> None:
    assert bad.release.phase is Phase.ROLLED_BACK, plant.how(bad.release.release_id)
    assert bad.verdict is not None
    assert bad.verdict.outcome is Outcome.FAIL
    assert "accuracy" in {
        metric.name for metric in bad.verdict.metrics if metric.outcome is Outcome.FAIL
    }
    assert plant.serving() == {digest_of(good)}
    assert bad.plan is not None
    (canary,) = bad.plan.waves[0].changes
    served = digest_of(bad).removeprefix("sha256:")[:12]
    cameras = plant.record().cameras.items()
    seen = {node for (_, _, node), buckets in cameras if any(served in b.by for b in buckets)}
    assert seen == {canary.node}


def test_a_version_that_int8_ruins_is_refused_and_no_node_hears_of_it(
    plant: Plant, bad: ReleaseStory, tmp_path_factory: pytest.TempPathFactory
) -> None:
    before = plant.serving()
    assert not bad.release.live
    model = write_ruined(tmp_path_factory.mktemp("models") / "ruined", FACTORIES)
    only_int8 = Quantization(precision="int8", max_drop_pt=2, max_evaluations=3, max_s=20)
    story = plant.release(plant.submit(model, quantization=only_int8))
    assert story.release.phase is Phase.REFUSED, plant.how(story.release.release_id)
    assert story.plan is None
    assert plant.serving() == before


def test_an_abort_before_anything_moved_moves_nothing(
    plant: Plant, bad: ReleaseStory, versions: tuple[Path, ...]
) -> None:
    assert not bad.release.live
    before = [view.ordered for view in plant.views()]
    asked = plant.submit(versions[2])
    plant.world.ledger.ask_abort(asked, "wrong file", datetime.now(UTC))
    story = plant.release(asked)
    assert story.release.phase is Phase.ABORTED
    assert [view.ordered for view in plant.views()] == before


class Killed(BaseException):
    """What SIGKILL looks like from inside: nothing of ours handles it."""


@dataclass
class Blow:
    """Kills a driver once it has ordered so many changes, and lets it call nothing any more."""

    after_orders: int
    seen: int = 0

    def __call__(self, when: str, name: str) -> None:
        if self.seen >= self.after_orders:
            raise Killed
        self.seen += (when, name) == ("after", "KubernetesSite.apply")


@pytest.mark.usefixtures("bad")
def test_a_driver_that_dies_in_the_roll_out_is_followed_by_one_that_ends_it(
    plant: Plant, versions: tuple[Path, ...]
) -> None:
    asked = plant.submit(versions[3])
    blow = Blow(after_orders=2)
    struck = {name: watched(site, blow) for name, site in plant.world.sites.items()}
    with installed(replace(plant.world, sites=struck)), pytest.raises(Killed):
        plant.release(asked)
    assert plant.current(asked).phase is Phase.ROLLING, plant.how(asked)
    assert len(plant.serving()) == 2
    story = plant.release(asked)
    assert story.release.phase is Phase.RELEASED, plant.how(asked)
    assert plant.serving() == {digest_of(story)}

    def one_each() -> bool:
        return len(plant.factory.pods(f"{WORKLOAD}={JOB}")) == NODES

    wait_for(one_each, "one pod is left on each node", 60)


def test_after_all_of_it_not_one_request_was_lost(plant: Plant, first: ReleaseStory) -> None:
    served_since = first.journal[-1].at.timestamp()
    sent = [
        bucket
        for buckets in plant.record().cameras.values()
        for bucket in buckets
        if bucket.t >= served_since
    ]
    requests = sum(map(requests_in, sent))
    failed, refused = sum(b.failed for b in sent), sum(b.refused for b in sent)
    print(f"{requests} requests, {failed} failed, {refused} refused, none was retried")  # noqa: T201
    assert requests >= LOOKED_AT_ALL
    assert (failed, refused) == (0, 0)


def test_edgefleet_used_every_right_that_it_has_and_no_other(plant: Plant) -> None:
    granted = {
        f"{verb} {kind}"
        for part in yaml.safe_load_all((ROOT / "infra/k3s/rbac.yaml").read_text())
        for rule in part.get("rules", ())
        for kind in rule["resources"]
        for verb in rule["verbs"]
        # An apply creates what is not there: one request, two rights.
        if verb != "create"
    }
    # Read one by one only after a conflict: tests/kubernetes/test_fence.py has some.
    assert set(plant.calls()) | {"get deployments"} == granted


def test_no_package_is_held_when_nothing_moves(plant: Plant) -> None:
    def let_go() -> bool:
        return not any(view.pulls for view in plant.views())

    wait_for(let_go, "all holds are given back", 30)
