from __future__ import annotations

import pytest

from tests.adapters.local_fleet import Shelf, make_shelf


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return make_shelf(tmp_path_factory.mktemp("shelf"))
