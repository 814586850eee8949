"""Given models that were released, when another one comes, then the best of them is its measure."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from edgefleet.adapters.memory.images import MemoryImages
from edgefleet.fleet.release import Admission, Phase
from edgefleet.model.export import Dense
from edgefleet.model.miniature import write_layer
from edgefleet.rehearsal import Stage
from edgefleet.written import written as in_yaml
from flows.release import release
from tasks.rollbacks import roll_back
from tasks.workshop import CHAMPIONS
from tests.scenarios.conftest import Build, Written
from tests.scenarios.stories import ended, package

SAMPLES = 400
TOWARDS = np.array([1.0, -1.0, 0.5, 0.25], np.float32)
FIRST = "defect-detection-1"
"""Right about every sample of every set here."""


def write_leaning(folder: Path, model: str, wrong: int) -> None:
    """Write a model that takes exactly so many of the 400 samples for the other class."""
    inputs = np.clip(np.random.default_rng(7).normal(0, 1, (SAMPLES, 4)), -8, 8).astype(np.float32)
    scores = inputs @ TOWARDS
    high = np.sort(scores[scores > 0])
    edge = (high[wrong - 1] + high[wrong]) / 2 if wrong else 0.0
    layer = Dense(
        (np.stack([-TOWARDS, TOWARDS], axis=1) * 20).astype(np.float32),
        np.array([20 * edge, -20 * edge], np.float32),
    )
    write_layer(folder, model, inputs, (scores > 0).astype(np.int64), layer)


def submitted(made: Stage, wrong: int) -> str:
    """Register and drive a model with so many of 400 wrong; return the release's id."""
    spec, world = made.spec, made.world
    folder = world.work_dir / f"leaning-{wrong}"
    write_leaning(folder, spec.model, wrong)
    version = world.models.register(folder, {}).version
    asked = Admission(spec.workload, spec.fleet, spec.model, version, "test", in_yaml(spec))
    release_id = world.ledger.admit(asked, world.clock.now())[0].release_id
    release(release_id)
    return release_id


def refusal(made: Stage, release_id: str) -> str:
    found = made.world.ledger.release(release_id)
    assert found.phase is Phase.REFUSED, found.reason
    return found.reason


def test_losses_within_the_limit_do_not_add_up_from_release_to_release(build: Build) -> None:
    made = build()
    second = submitted(made, wrong=6)
    assert ended(made, second) is Phase.RELEASED
    reason = refusal(made, submitted(made, wrong=12))
    assert "98.5 %" not in reason
    assert "97.0 % against 100.0 % of the best champion defect-classifier 1" in reason
    assert "worse by 3.00 pt" in reason


def test_after_a_rollback_the_yardstick_is_still_the_best(build: Build, written: Written) -> None:
    made = build()
    written(made)
    second = submitted(made, wrong=6)
    third = submitted(made, wrong=1)
    assert ended(made, third) is Phase.RELEASED
    back = roll_back(made.spec.workload, "it is slow", "Ada").release_id
    release(back)
    assert package(back) == package(second)
    images = made.world.images
    assert isinstance(images, MemoryImages)
    images.forget(package(FIRST))
    shutil.rmtree(made.world.work_dir / CHAMPIONS)
    asked = submitted(made, wrong=10)
    assert "of the best champion defect-classifier 3" in refusal(made, asked)
    journal = [entry.text for entry in made.world.ledger.journal(asked)]
    assert any(line.startswith("not compared with an earlier champion") for line in journal)
