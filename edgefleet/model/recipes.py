"""The sample models: how each is made, and the submission folder that comes of it.

`first` is trained on varied scenes, `better` goes on from it. `field-blind` goes on from it too, on
the lab's scenes alone: as good on the validation set, worse on what the cameras see. `repairable`
and `beyond-repair` are `better` with one, or with every, layer spread out so that INT8 ruins it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgefleet.edge.contract import TensorSpec
from edgefleet.errors import Refused
from edgefleet.model.export import Params, restore, save, to_onnx
from edgefleet.model.hostile import beyond_repair, repairable
from edgefleet.model.submission import DataSets, fresh_card, write
from edgefleet.model.surface import LABELS, SIDE, draw, factory_scene, lab_scenes

MODEL: Final = "defect-classifier"
INPUT: Final = TensorSpec(name="image", dtype="uint8", shape=(1, SIDE, SIDE), low=0, high=255)
CARD: Final = fresh_card(MODEL, "classification", LABELS, INPUT)
_LAB: Final = lab_scenes()
# None of these places is one of the demo's factories. The lab comes up often enough that the
# validation set, which is taken there, is answered well.
_WIDE: Final = (*(factory_scene(f"place-{i}") for i in range(40)), *_LAB * 4)


@dataclass(frozen=True, slots=True)
class Training:
    """A run of training."""

    field: bool
    """Whether it sees many places, or the lab alone."""
    images: int
    steps: int
    rate: float


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a sample model is made from the one before it."""

    after: str | None
    """None: from scratch."""
    training: Training | None = None
    spoil: Callable[[Params, int], Params] | None = None
    """What is done to it afterwards, with the seed."""


RECIPES: Final[Mapping[str, Recipe]] = {
    "first": Recipe(None, Training(field=True, images=8000, steps=180, rate=3e-3)),
    "better": Recipe("first", Training(field=True, images=5000, steps=100, rate=1.5e-3)),
    "field-blind": Recipe("first", Training(field=False, images=3000, steps=50, rate=4.5e-4)),
    "repairable": Recipe("better", spoil=repairable),
    "beyond-repair": Recipe("better", spoil=beyond_repair),
}


def sample_params(recipe: str, seed: int, shelf: Path) -> Params:
    """Return a trained sample model; it and what it goes on from are kept on `shelf`.

    Empty the shelf after a change of recipes: what lies there is taken as it is.

    Raises:
        Refused: there is no such recipe.
    """
    if recipe not in RECIPES:
        raise Refused(recipe, f"no recipe (known: {', '.join(RECIPES)})", "Name one of them")
    kept = shelf / f"{recipe}-{seed}.npz"
    if kept.exists():
        return restore(kept)
    steps = RECIPES[recipe]
    made = None if steps.after is None else sample_params(steps.after, seed, shelf)
    if steps.training is not None:
        made = _trained(steps.training, made, seed)
    if made is None:
        raise Refused(recipe, "neither trains nor goes on from another", "Give it one of the two")
    if steps.spoil is not None:
        made = steps.spoil(made, seed)
    save(made, kept)
    return made


def sample_submission(recipe: str, folder: Path, seed: int, shelf: Path | None = None) -> Params:
    """Make a sample model, write its submission folder, and return it.

    `shelf` is where models are kept for the recipes that go on from them; None: beside `folder`.

    Raises:
        Refused: there is no such recipe.
    """
    params = sample_params(recipe, seed, folder.parent if shelf is None else shelf)
    validation = draw(2000, seed + 10, _LAB)
    sets = DataSets(
        calibration=draw(128, seed + 11, _LAB).inputs,
        validation=validation.inputs,
        validation_labels=validation.labels,
        golden=draw(16, seed + 12, _LAB).inputs,
    )
    write(folder, to_onnx(params, CARD.input, CARD.output), CARD, sets)
    return params


def _trained(way: Training, start: Params | None, seed: int) -> Params:
    from edgefleet.model.training import train  # noqa: PLC0415 - loads JAX

    # Each recipe sees images of its own: the number of steps is as good a name as any.
    examples = draw(way.images, 1000 * seed + way.steps, _WIDE if way.field else _LAB)
    return train(examples, steps=way.steps, seed=seed, start=start, rate=way.rate)
