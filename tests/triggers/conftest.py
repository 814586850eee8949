from collections.abc import Iterator

import pytest

from tests.triggers.centre import Centre, a_centre


@pytest.fixture(scope="package")
def centre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Centre]:
    with a_centre(tmp_path_factory.mktemp("triggers") / "home") as made:
        yield made
