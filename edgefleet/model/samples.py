"""Every sample model by name: the defect classifiers and the shuttle's anomaly detector.

Each ends as a submission folder, and from there on nothing tells it from anybody's own model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from edgefleet.errors import Refused
from edgefleet.model.export import Params
from edgefleet.model.recipes import RECIPES, sample_submission
from edgefleet.model.shuttle import shuttle_submission

SAMPLES: Final[Mapping[str, Callable[[Path, int], Params]]] = {
    **{recipe: partial(sample_submission, recipe) for recipe in RECIPES},
    "shuttle": shuttle_submission,
}
"""What trains a model with a seed and writes its submission folder."""


def make_sample(name: str, folder: Path, seed: int) -> None:
    """Train a sample model and write its submission folder.

    Raises:
        Refused: there is no sample of that name.
    """
    if name not in SAMPLES:
        raise Refused(name, f"no sample model (known: {', '.join(SAMPLES)})", "Name one of them")
    SAMPLES[name](folder, seed)
