"""Given a package that no node would start, when it is to be brought, then no WAN carries it."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from edgefleet.adapters.memory.kill import watched
from edgefleet.fleet.release import Phase
from edgefleet.model.signature import KEY_FILE, TRUST_FOLDER, make_key
from edgefleet.rehearsal import Stage
from edgefleet.wiring import installed
from flows.release import release
from tasks.rollbacks import roll_back
from tests.scenarios.conftest import Build, Written
from tests.scenarios.reaper import Killed
from tests.scenarios.stories import ended, package, serving

JOB = "defect-detection"
FIRST, SECOND, THIRD = (f"{JOB}-{generation}" for generation in (1, 2, 3))


@pytest.fixture
def made(build: Build, written: Written) -> Stage:
    found = build()
    written(found)
    return found


def trusting(made: Stage, folder: Path, *, signs: Path, trusts: Path) -> Stage:
    """Return the stage with the signing key of one folder and the public keys of another."""
    keys = folder / "both"
    shutil.copytree(trusts / TRUST_FOLDER, keys / TRUST_FOLDER)
    shutil.copyfile(signs / KEY_FILE, keys / KEY_FILE)
    return replace(made, world=replace(made.world, key_dir=keys))


def another(folder: Path) -> Path:
    make_key(folder / "another")
    return folder / "another"


def assert_refused_before_any_pull(made: Stage, release_id: str) -> None:
    found = made.world.ledger.release(release_id)
    assert found.phase is Phase.REFUSED
    wanted = package(release_id)
    assert f"package {wanted[:19]}: model.sig signed by none of the trusted keys" in found.reason
    assert made.world.ledger.get(release_id, "pulling", 0) is None
    assert made.world.ledger.get(release_id, "pulls", 0) is None
    assert [one for one in made.fleet.transfers() if one.digest == wanted] == []


def test_a_package_signed_by_a_foreign_key_is_refused_before_any_node_pulls_it(
    made: Stage, tmp_path: Path
) -> None:
    mine = made.world.key_dir
    foreign = trusting(made, tmp_path, signs=another(tmp_path), trusts=mine)
    with installed(foreign.world):
        release(foreign.submit(2))
        assert_refused_before_any_pull(foreign, SECOND)
    assert serving(made) == Counter({package(FIRST): 40})


def test_a_way_back_to_a_package_whose_key_was_withdrawn_is_refused_before_any_node_pulls_it(
    made: Stage, tmp_path: Path
) -> None:
    new = another(tmp_path)
    rotated = trusting(made, tmp_path, signs=new, trusts=new)
    with installed(rotated.world):
        release(rotated.submit(2))
        assert ended(rotated, SECOND) is Phase.RELEASED
        before = len(rotated.fleet.transfers())
        roll_back(JOB, "scratches are missed", "Ada")
        release(THIRD)
        found = rotated.world.ledger.release(THIRD)
        assert found.phase is Phase.REFUSED
        assert "signed by none of the trusted keys" in found.reason
        assert len(rotated.fleet.transfers()) == before
        assert serving(rotated) == Counter({package(SECOND): 40})


def test_a_driver_that_takes_over_in_the_pre_pull_finds_the_same(
    made: Stage, tmp_path: Path
) -> None:
    mine = made.world.key_dir
    foreign = trusting(made, tmp_path, signs=another(tmp_path), trusts=mine)

    def dies(when: str, call: str) -> None:
        if (when, call) == ("after", "MemoryImages.fetch") and ended(made, SECOND) is phase:
            raise Killed

    phase = Phase.PREPULLING
    dying = replace(foreign.world, images=watched(foreign.world.images, dies))
    with installed(dying), pytest.raises(Killed):
        release(foreign.submit(2))
    assert ended(made, SECOND) is Phase.PREPULLING
    with installed(foreign.world):
        release(SECOND)
        assert_refused_before_any_pull(foreign, SECOND)
