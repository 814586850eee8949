from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.edge.tiny import tiny_package
from tests.kubernetes.cluster.factory import Factory, running
from tests.kubernetes.cluster.watched import skip_without


@pytest.fixture(scope="session")
def graz() -> Iterator[Factory]:
    """A factory with one real node, shared by all tests."""
    skip_without("kubelet", "namespaces and containers")
    with running("graz") as factory:
        yield factory


@pytest.fixture(scope="module")
def factory(graz: Factory) -> Iterator[Factory]:
    """The factory, in which no pod of another file is left."""
    yield graz
    graz.clear()


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for packages, with a first one, and the key that signs them."""
    folder = tmp_path_factory.mktemp("shelf")
    tiny_package(folder / "first", folder / "keys")
    return folder
