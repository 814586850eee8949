from __future__ import annotations

from pathlib import Path

import pytest

from edgefleet.model.signature import make_key


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    make_key(folder)
    return folder
