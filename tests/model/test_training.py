from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from edgefleet.errors import Refused
from edgefleet.model.evaluate import open_session, predict
from edgefleet.model.export import Conv, Dense, Params, macs, restore, save, to_onnx
from edgefleet.model.network import image_network
from edgefleet.model.recipes import CARD, RECIPES, sample_params, sample_submission
from edgefleet.model.submission import check, load_sets
from edgefleet.model.surface import LABELS, draw, lab_scenes
from edgefleet.model.training import accuracy, train
from edgefleet.model.training import predict as by_jax


def narrow(seed: int = 1) -> Params:
    """Return the untrained sample network's first two layers, narrow: quick to compile."""
    wide = image_network(seed, len(LABELS))
    convs = []
    given = 1
    for conv, width in zip(wide.convs, (16, 24), strict=False):
        convs.append(Conv(conv.weight[:width, :given] * 3, conv.bias[:width], conv.stride))
        given = width
    head = Dense(wide.dense[0].weight[:given], wide.dense[0].bias)
    return replace(wide, convs=tuple(convs), dense=(head,))


@pytest.fixture(scope="module")
def short() -> Params:
    """Return a network after a few steps: it knows little, and every code path was taken."""
    return train(draw(512, 1, lab_scenes()), steps=12, seed=1, batch=32, start=narrow())


def same(one: Params, two: Params) -> bool:
    pairs = zip((*one.convs, *one.dense), (*two.convs, *two.dense), strict=True)
    return all(
        np.array_equal(a.weight, b.weight) and np.array_equal(a.bias, b.bias) for a, b in pairs
    )


def by_onnx(
    params: Params, inputs: npt.NDArray[np.generic], folder: Path
) -> npt.NDArray[np.float32]:
    onnx.save(to_onnx(params, CARD.input, CARD.output), str(folder / "model.onnx"))
    return predict(open_session(folder / "model.onnx"), inputs)


def test_training_twice_gives_the_same_bytes(short: Params) -> None:
    images = draw(512, 1, lab_scenes())
    again, other = (train(images, steps=12, seed=seed, batch=32, start=narrow()) for seed in (1, 2))
    assert same(short, again)
    assert not same(short, other)


def test_a_few_steps_on_the_lab_beat_guessing() -> None:
    images = draw(512, 1, lab_scenes())
    params = train(images, steps=120, seed=1, batch=32, start=narrow(), rate=1e-2)
    assert accuracy(params, draw(200, 2, lab_scenes())) > 2 / len(LABELS)


def test_going_on_by_no_step_changes_no_answer(short: Params) -> None:
    images = draw(512, 3, lab_scenes())
    folded = train(images, steps=0, seed=1, start=short)
    sample = images.inputs[:100]
    assert by_jax(short, sample) == pytest.approx(by_jax(folded, sample), abs=1e-3)


def test_the_exported_graph_answers_as_jax_does(short: Params, tmp_path: Path) -> None:
    images = draw(70, 4, lab_scenes()).inputs
    assert by_jax(short, images) == pytest.approx(by_onnx(short, images, tmp_path), abs=1e-4)


def test_the_exported_graph_loads_on_old_runtimes_and_takes_any_batch(short: Params) -> None:
    model = to_onnx(short, CARD.input, CARD.output)
    assert (model.opset_import[0].version, model.ir_version) == (17, 10)
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    kinds = [node.op_type for node in model.graph.node]
    assert kinds[:4] == ["Cast", "Mul", "Sub", "Div"]
    assert kinds[-1] == "Softmax"


def test_the_same_parameters_export_to_the_same_bytes(short: Params) -> None:
    one, two = (
        to_onnx(short, CARD.input, CARD.output).SerializeToString(deterministic=True)
        for _ in range(2)
    )
    assert one == two


def test_parameters_come_back_from_a_file_as_they_were(short: Params, tmp_path: Path) -> None:
    save(short, tmp_path / "kept.npz")
    again = restore(tmp_path / "kept.npz")
    assert same(short, again)
    assert [conv.stride for conv in short.convs] == [conv.stride for conv in again.convs]
    assert [tmp_path / "kept.npz"] == list(tmp_path.iterdir())


def test_the_network_is_large_enough_for_eight_bits_to_pay() -> None:
    assert 30e6 < macs(image_network(1, len(LABELS)), 64) < 45e6


def test_every_recipe_goes_on_from_one_that_exists() -> None:
    assert {"first", "better", "field-blind"} <= set(RECIPES)
    for recipe in RECIPES.values():
        assert recipe.after is None or recipe.after in RECIPES
        assert recipe.training or (recipe.after and recipe.spoil)


def test_an_unknown_recipe_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="known: first, better, field-blind"):
        sample_params("best", 1, tmp_path)


@pytest.mark.parametrize("recipe", ["better", "repairable", "beyond-repair"])
def test_a_recipe_ends_in_a_submission_that_passes_its_check(
    recipe: str, short: Params, tmp_path: Path
) -> None:
    # The shelf holds what the recipes go on from, so that nothing is trained here.
    save(short, tmp_path / "first-1.npz")
    save(short, tmp_path / "better-1.npz")
    made = sample_submission(recipe, tmp_path / recipe, 1)
    found = check(tmp_path / recipe)
    assert (found.card.labels, found.validation) == (LABELS, 2000)
    assert (tmp_path / f"{recipe}-1.npz").exists()
    inputs = load_sets(tmp_path / recipe).golden
    answers = predict(open_session(tmp_path / recipe / "model.onnx"), inputs)
    assert by_jax(made, inputs) == pytest.approx(answers, abs=2e-3)
