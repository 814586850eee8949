"""Training, in its first form: the sample models. Anybody's own training ends in `register` too."""

from __future__ import annotations

from pathlib import Path

from prefect import flow, get_run_logger, task

from edgefleet.model.samples import make_sample
from edgefleet.model.submission import checked_metrics
from edgefleet.ports import ModelVersion
from edgefleet.wiring import world
from tasks.events import tell_registered
from tasks.policy import OUTSIDE
from tasks.workshop import TRAINING


@task(name="train and export", **OUTSIDE)
def train_sample(recipe: str, folder: Path, seed: int) -> None:
    """Train a sample model by name and write its submission folder."""
    make_sample(recipe, folder, seed)


@task(name="register model", **OUTSIDE)
def register_model(folder: Path) -> ModelVersion:
    """Check a submission and register it."""
    return world().models.register(folder, checked_metrics(folder))


@flow(name="train", retries=0)
def train(recipes: list[str] | None = None, seed: int = 1) -> list[str]:
    """Train sample models (edgefleet/model/samples.py), register each, and return the versions."""
    versions = []
    for recipe in recipes or ["first"]:
        folder = world().work_dir / TRAINING / f"{recipe}-{seed}"
        train_sample(recipe, folder, seed)
        made = register_model(folder)
        if silent := tell_registered(made.model, made.version, "training"):
            get_run_logger().warning("the next watch will find it: %s", silent)
        versions.append(made.version)
    return versions
