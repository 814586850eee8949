"""The adapter over a factory of the tests, and what the machine must have for one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from edgefleet.adapters.kubernetes.api import Api
from edgefleet.adapters.kubernetes.cluster import Cluster
from edgefleet.fleet.manifest_names import Manner
from edgefleet.model.signature import TRUST_FOLDER, public_keys
from tests.kubernetes.cluster.binaries import Missing, program
from tests.kubernetes.cluster.factory import PREFIX, Factory
from tests.registry.opened import opened


def skip_without(name: str, why_root: str) -> None:
    """Skip where a program is not there, or we are not root."""
    if os.geteuid() != 0:
        pytest.skip(f"{why_root} need root")
    try:
        program(name)
    except Missing as missing:
        pytest.skip(str(missing))


@contextmanager
def watched_cluster(factory: Factory, keys: Path, manner: Manner) -> Iterator[Cluster]:
    """Yield the adapter's cluster, whose nodes trust the keys of a folder."""
    api = Api.of_context(factory.plane.name, factory.driver, None)
    with opened(factory.registry.url, PREFIX) as registry:
        # Told once, as by a ledger: no order to a node may need the registry.
        describe = cache(registry.describe)
        cluster = Cluster(api, manner, describe, public_keys(keys / TRUST_FOLDER))
        try:
            yield cluster
        finally:
            cluster.close()
