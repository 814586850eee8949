from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.registry.packages import write_package
from tests.registry.server import RegistryServer, need_program


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RegistryServer]:
    need_program()
    with RegistryServer(tmp_path / "registry") as server:
        yield server


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return write_package(tmp_path / "package")
