"""What holds for every test, and which of them are long."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest
from hypothesis import settings

# How long an example takes says how busy the machine is, and nothing about the code.
settings.register_profile("edgefleet", deadline=None)
settings.load_profile("edgefleet")

_TESTS: Final = Path(__file__).parent
LONG: Final = (
    "e2e/test_a_factory_behind_nat.py",
    "e2e/test_deployed.py",
    "e2e/test_on_postgres.py",
    "e2e/test_the_proxy.py",
    "scenarios/test_clocks.py",
    "scenarios/test_crashes.py",
    "scenarios/test_deadlines.py",
    "scenarios/test_drill_local.py",
    "scenarios/test_guard.py",
    "scenarios/test_kills.py",
    "scenarios/test_looks.py",
    "scenarios/test_new_base.py",
    "scenarios/test_reconcile.py",
    "scenarios/test_reconcile_day.py",
    "scenarios/test_rollback.py",
    "scenarios/test_silence.py",
    "scenarios/test_watch.py",
    "scenarios/test_windows.py",
    "triggers",
    "workloads",
)
"""Below tests/, run by `make test-long`, and by `make test-servers` those that start servers.
One release through everything (e2e/test_a_release.py) stays in `make test`."""


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    for item in items:
        if item.path.relative_to(_TESTS).as_posix().startswith(LONG):
            item.add_marker(pytest.mark.long)
