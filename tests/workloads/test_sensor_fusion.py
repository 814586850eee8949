"""The second workload goes the same way as the first: trained, registered, qualified, released."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import yaml

from edgefleet.edge.contract import CARD_FILE, Card
from edgefleet.fleet.release import Admission, Phase
from edgefleet.model.qualify import Qualification
from edgefleet.model.shuttle import LABELS, MODEL
from edgefleet.ports import Image
from edgefleet.rehearsal import stage
from edgefleet.spec import Spec, load_spec
from edgefleet.wiring import World, installed
from flows.release import release
from flows.train import train
from tasks.records import needed

SPEC = Path(__file__).resolve().parents[2] / "deployments/specs/sensor-fusion.yaml"
NODES = 24


@pytest.fixture(scope="module")
def spec() -> Spec:
    """Return the sample spec, which itself says yes here."""
    found = load_spec(SPEC)
    approval = found.approval.model_copy(update={"before_rollout": "auto"})
    return found.model_copy(update={"approval": approval})


@pytest.fixture(scope="module")
def world(prefect: None, spec: Spec, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:  # noqa: ARG001 - flows need a server
    folder = tmp_path_factory.mktemp("sensors")
    with installed(stage(spec, folder, nodes=NODES, factories=3).world) as made:
        yield made


def released(world: World, spec: Spec, version: str) -> str:
    """Release a registered version, to its end; return the release's id."""
    text = yaml.safe_dump(spec.model_dump(mode="json"))
    admission = Admission(spec.workload, spec.fleet, spec.model, version, "test", text)
    made, _ = world.ledger.admit(admission, world.clock.now())
    release(made.release_id)
    ended = world.ledger.release(made.release_id)
    assert ended.phase is Phase.RELEASED, ended.reason
    return made.release_id


def serving(world: World, spec: Spec) -> Counter[str]:
    views = [view for site in world.sites.values() for view in site.snapshot(spec.workload)]
    return Counter(view.serving.digest if view.serving else "nothing" for view in views)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_trained_version_reaches_every_sensor_node_as_an_anomaly_model(
    world: World, spec: Spec, seed: int, tmp_path: Path
) -> None:
    """The first version is judged by floors, the second one against the first."""
    (version,) = train(["shuttle"], seed)
    assert version == str(seed)
    release_id = released(world, spec, version)

    package = needed(release_id, "package", 0, Image).digest
    assert serving(world, spec) == Counter({package: NODES})
    world.images.fetch(package, tmp_path)
    card = msgspec.json.decode((tmp_path / CARD_FILE).read_bytes(), type=Card)
    assert (card.model, card.version, card.task, card.labels) == (MODEL, version, "anomaly", LABELS)

    found = needed(release_id, "qualification", 0, Qualification)
    assert card.precision == found.precision
    assert found.speedup is not None, "INT8 was looked for, and timed"
    assert (found.speedup.ratio >= spec.quantization.min_speedup) == (found.precision != "fp32")
    assert found.accuracy > 0.95
