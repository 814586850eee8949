from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path

import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client

from edgefleet.cli.own_prefect import own_prefect
from edgefleet.fleet.release import Phase
from edgefleet.rehearsal import Stage, stage
from edgefleet.spec import parse_spec
from edgefleet.wiring import installed
from tests.scenarios.copies import Copy

SPEC = """
workload: defect-detection
model: defect-classifier
selector: {line: camera}
waves: {shares: [0.5, 1.0], holdback: 0.1, windows: 1, at_once_per_factory: 4}
prepull: {nodes_at_once: 8, starts_per_min: 600}
gates:
  min_windows: 4
  max_windows: 30
  pre_windows: 20
  label_rate: 0.5
  shadow_rate: 1.0
  accuracy: {margin_pt: 3}
  latency: {margin_pct: 50}
  floors: {accuracy: 0.6, p99_ms: 1000}
"""

Build = Callable[..., Stage]
Written = Callable[[Stage], None]


@pytest.fixture(scope="session", autouse=True)
def prefect() -> Iterator[None]:
    with own_prefect():
        yield


@pytest.fixture(scope="session")
def champions(
    prefect: None,  # noqa: ARG001 - the release below is a flow
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[int, str], Copy]:
    """Given a first champion, released by the real flow: once for each fleet, then copied."""

    @lru_cache
    def crowned(nodes: int, spec: str) -> Copy:
        from flows.release import release  # noqa: PLC0415 - after the harness is up

        folder = tmp_path_factory.mktemp("champion")
        made = stage(parse_spec(spec, "test"), folder, nodes=nodes, factories=4)
        with installed(made.world):
            first = made.submit(1, hurried=True)
            release(first)
        assert made.world.ledger.release(first).phase is Phase.RELEASED
        return Copy(made, folder)

    return crowned


@pytest.fixture
def build(champions: Callable[[int, str], Copy], tmp_path: Path) -> Iterator[Build]:
    """Given a fleet of its own whose champion is already released."""
    with ExitStack() as opened:

        def make(nodes: int = 40, spec: str = SPEC) -> Stage:
            folder = tmp_path / str(len(list(tmp_path.iterdir())))
            folder.mkdir()
            made = champions(nodes, spec).stage(folder)
            opened.enter_context(installed(made.world))
            return made

        yield make


@pytest.fixture
def written(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Written:
    """Given the folder of spec files, as an operator has it: how a stage's spec gets there."""
    folder = tmp_path_factory.mktemp("specs")
    monkeypatch.setenv("EDGEFLEET_SPECS", str(folder))

    def write(made: Stage) -> None:
        text = yaml.safe_dump(made.spec.model_dump(mode="json"))
        (folder / f"{made.spec.workload}.yaml").write_text(text)

    return write


@pytest.fixture
def client(prefect: None) -> Iterator[SyncPrefectClient]:  # noqa: ARG001 - its server
    """Given the deployment of the release flow, and no worker that would begin on its runs."""
    with get_client(sync_client=True) as made:
        made.create_deployment(made.create_flow_from_name("release"), name="release")
        while runs := made.read_flow_runs(limit=200):  # all: a test of kills leaves hundreds
            for run in runs:
                made.delete_flow_run(run.id)
        yield made
