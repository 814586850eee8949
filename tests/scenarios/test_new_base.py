"""A new base image alone: the champion's model goes out again, on what nodes should run now."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest

from edgefleet.adapters.memory.images import MemoryImages
from edgefleet.cli.admission import base_release
from edgefleet.errors import Refused
from edgefleet.fleet.plan import Plan
from edgefleet.fleet.release import Phase
from edgefleet.model import oci
from edgefleet.ports import Image
from edgefleet.rehearsal import Stage
from flows.release import release
from tasks.records import latest, needed
from tests.scenarios.conftest import Build
from tests.scenarios.stories import ended, package, serving

FIRST, SECOND = "defect-detection-1", "defect-detection-2"
PATCHED = oci.layer({"app/patched": b"a newer runtime" * 1000})


def patch(made: Stage) -> None:
    """Put one more layer on what packages are built on."""
    images, base = made.world.images, oci.source_base()
    assert isinstance(images, MemoryImages)
    config = msgspec.json.decode(base.config)
    config["rootfs"]["diff_ids"].append(oci.digest_of(PATCHED))
    images.base = oci.Base(
        (*base.layers, oci.descriptor(oci.LAYER_TYPE, PATCHED, {oci.LAYER_KIND: "base"})),
        msgspec.json.encode(config),
        {**base.blobs, oci.digest_of(PATCHED): PATCHED},
    )


def test_the_champions_model_goes_out_on_the_new_base_and_nothing_is_measured_again(
    build: Build,
) -> None:
    made = build()
    patch(made)
    asked = base_release(made.spec, "Ada")
    assert asked.release_id == SECOND
    release(SECOND)
    assert ended(made, SECOND) is Phase.RELEASED
    assert serving(made) == Counter({package(SECOND): 40})
    assert package(SECOND) != package(FIRST)
    old, new = (needed(name, "package", 0, Image).layers for name in (FIRST, SECOND))
    assert [layer.digest for layer in new if layer.kind == "model"] == [old[-1].digest]
    ledger = made.world.ledger
    assert ledger.get(SECOND, "qualification", 0) == ledger.get(FIRST, "qualification", 0)
    assert len(ledger.all(SECOND, "look")) >= 1
    found = latest(SECOND, "plan", Plan)
    assert found is not None
    assert found[1].model_bytes == len(PATCHED) + old[-1].size


def test_a_champion_that_has_the_base_is_refused_another_release(build: Build) -> None:
    made = build()
    release(base_release(made.spec, "Ada").release_id)
    found = made.world.ledger.release(SECOND)
    assert found.phase is Phase.REFUSED
    assert f"champion {FIRST} is on the current base image already" in found.reason


def test_a_new_base_for_a_model_that_is_champion_no_more_is_refused(build: Build) -> None:
    made = build()
    second = made.submit(2)
    patch(made)
    asked = base_release(made.spec, "Ada")
    release(second)
    release(asked.release_id)
    found = made.world.ledger.release(asked.release_id)
    assert found.phase is Phase.REFUSED
    assert f"the champion is {second} by now" in found.reason


def test_without_a_champion_there_is_no_model_to_bring_again(build: Build) -> None:
    made = build()
    other = made.spec.model_copy(update={"workload": "sorting"})
    with pytest.raises(Refused, match="sorting: no release of it has ended as released yet"):
        base_release(other, "Ada")
