"""What the registry's tasks hand on between the model and the world."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from edgefleet.adapters.memory.models import MemoryModels
from edgefleet.edge.contract import CARD_FILE, PACKAGE_FILES, Card
from edgefleet.lab import Quantization
from edgefleet.model.miniature import write_miniature
from edgefleet.model.qualify import Qualification
from edgefleet.model.submission import VALIDATION
from edgefleet.rehearsal import stage
from edgefleet.spec import Spec
from edgefleet.wiring import installed
from flows.train import register_model
from tasks.registry import qualify_model

SPEC = Spec(
    workload="sorting",
    model="sorter",
    selector={"line": "camera"},
    quantization=Quantization(precision="fp32"),
)


def qualified(folder: Path, *versions: str) -> list[Qualification]:
    """Qualify one submission as each of these versions, with one key."""
    write_miniature(folder / "submission", SPEC.model, seed=1)
    with installed(stage(SPEC, folder, nodes=1, factories=1).world):
        return [
            qualify_model.fn(folder / "submission", version, SPEC, folder / f"{index}", ())
            for index, version in enumerate(versions)
        ]


def test_a_version_is_registered_with_its_accuracy(tmp_path: Path) -> None:
    folder = tmp_path / "submission"
    write_miniature(folder, SPEC.model, seed=1)
    with np.load(folder / VALIDATION) as sets:
        inputs, labels = sets["inputs"], sets["labels"]
    labels[:100] = 1 - labels[:100]
    np.savez(folder / VALIDATION, inputs=inputs, labels=labels)
    models = MemoryModels()
    with installed(replace(stage(SPEC, tmp_path, nodes=1, factories=1).world, models=models)):
        made = register_model.fn(folder)
    assert models.metrics(made.model, made.version) == {"accuracy": 0.75}


def package(found: Qualification) -> dict[str, bytes]:
    return {name: (Path(found.package) / name).read_bytes() for name in PACKAGE_FILES}


def test_a_package_says_which_registered_version_it_is(tmp_path: Path) -> None:
    (found,) = qualified(tmp_path, "7")
    card = msgspec.json.decode(package(found)[CARD_FILE], type=Card)
    assert (card.model, card.version, found.version) == ("sorter", "7", "7")


def test_the_same_version_is_the_same_package_and_another_version_another(tmp_path: Path) -> None:
    first, again, other = map(package, qualified(tmp_path, "7", "7", "8"))
    assert first == again
    changed = {name for name in PACKAGE_FILES if first[name] != other[name]}
    assert changed == {CARD_FILE, "model.sig"}
