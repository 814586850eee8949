from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prefect.settings import (
    PREFECT_LOGGING_LEVEL,
    PREFECT_SERVER_ANALYTICS_ENABLED,
    temporary_settings,
)
from prefect.testing.utilities import prefect_test_harness

from edgefleet.rehearsal import Stage, stage
from edgefleet.spec import parse_spec
from edgefleet.wiring import installed

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


@pytest.fixture(scope="session", autouse=True)
def prefect() -> Iterator[None]:
    quiet = {PREFECT_LOGGING_LEVEL: "ERROR", PREFECT_SERVER_ANALYTICS_ENABLED: False}
    with temporary_settings(quiet), prefect_test_harness(server_startup_timeout=60):
        yield


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Callable[..., Stage]]:
    """Given a fleet whose champion is already released."""
    opened = []

    def make(nodes: int = 40, spec: str = SPEC) -> Stage:
        from flows.release import release  # noqa: PLC0415 - after the harness is up

        made = stage(parse_spec(spec, "test"), tmp_path, nodes=nodes, factories=4)
        context = installed(made.world)
        context.__enter__()
        opened.append(context)
        release(made.submit(1, hurried=True))
        return made

    yield make
    for context in opened:
        context.__exit__(None, None, None)
