from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

from edgefleet.edge.contract import TensorSpec
from edgefleet.errors import Refused
from edgefleet.model.evaluate import Floats, Samples, open_session, predict
from edgefleet.model.export import Conv, Dense, Params, macs, to_onnx
from edgefleet.model.graph import fringe_nodes, keep_float
from edgefleet.model.hostile import beyond_repair, repairable, ruin
from edgefleet.model.quantize import this_cpu_has_vnni
from edgefleet.model.surface import SIDE, draw, factory_scene

INPUT = TensorSpec(name="image", dtype="uint8", shape=(1, SIDE, SIDE))
OUTPUT = TensorSpec(name="probabilities", dtype="float32", shape=(6,))
CONVS = ("conv1", "conv2", "conv3", "conv4")
COUNT = 200


def untrained() -> Params:
    """Return the sample network's shape at a quarter of its width, its head sharpened.

    Its answers mean nothing. How often a quantized copy gives the same answer does.
    """
    rng = np.random.default_rng(5)
    convs = []
    given = 1
    for width, stride in ((16, 2), (24, 2), (32, 1), (32, 2)):
        weight = rng.normal(0, np.sqrt(2 / (9 * given)), (width, given, 3, 3))
        bias = rng.normal(0, 0.1, width)
        convs.append(Conv(weight.astype(np.float32), bias.astype(np.float32), stride))
        given = width
    head = np.zeros((given, 6), np.float32)
    plain = Params(
        scale=1 / 255,
        mean=np.full((1, 1, 1), 0.5, np.float32),
        deviation=np.full((1, 1, 1), 0.2, np.float32),
        convs=tuple(convs),
        dense=(Dense(head, np.zeros(6, np.float32)),),
    )
    head[:6] = 40 * np.eye(6, dtype=np.float32)
    return plain


@pytest.fixture(scope="module")
def images() -> Samples:
    return draw(COUNT, 1, [factory_scene(f"place-{i}") for i in range(8)]).inputs


@pytest.fixture(scope="module")
def network(images: Samples, tmp_path_factory: pytest.TempPathFactory) -> Params:
    """Return the untrained network, its logits centred, so that all classes are answered."""
    bare = untrained()
    folder = tmp_path_factory.mktemp("bare")
    model = to_onnx(bare, INPUT, OUTPUT)
    del model.graph.node[-1]
    model.graph.output[0].name = model.graph.node[-1].output[0]
    onnx.save(model, str(folder / "bare.onnx"))
    logits = predict(open_session(folder / "bare.onnx"), images)
    size = logits.std(axis=0)
    (head,) = bare.dense
    weight = head.weight * (4 / size)
    bias = -logits.mean(axis=0) * 4 / size
    return Params(
        bare.scale,
        bare.mean,
        bare.deviation,
        bare.convs,
        (Dense(weight.astype(np.float32), bias.astype(np.float32)),),
    )


class Feed(CalibrationDataReader):
    def __init__(self, images: Samples) -> None:
        self._feeds = iter([{"image": images}])

    def get_next(self) -> dict[str, Samples] | None:
        return next(self._feeds, None)


def answers(params: Params, images: Samples, folder: Path) -> Floats:
    onnx.save(to_onnx(params, INPUT, OUTPUT), str(folder / "float.onnx"))
    return predict(open_session(folder / "float.onnx"), images)


def agreement(
    params: Params, images: Samples, folder: Path, in_float: tuple[str, ...] = ()
) -> float:
    """Return the share of answers that INT8 leaves alone; `in_float` stays out of it."""
    expected = answers(params, images, folder).argmax(axis=1)
    model = onnx.load(str(folder / "float.onnx"))
    fringe = fringe_nodes(model)
    guards = keep_float(model, in_float)
    onnx.save(model, str(folder / "guarded.onnx"))
    quantize_static(
        str(folder / "guarded.onnx"),
        str(folder / "int8.onnx"),
        Feed(images[:64]),
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        # Without VNNI a sum of products of 8 and 8 bits saturates: there weights have 7.
        reduce_range=not this_cpu_has_vnni(),
        nodes_to_exclude=[*fringe, *in_float, *guards],
    )
    found = predict(open_session(folder / "int8.onnx"), images).argmax(axis=1)
    return float((found == expected).mean())


@pytest.mark.parametrize("spoil", [repairable, beyond_repair])
def test_in_float_a_ruined_model_answers_as_before(
    spoil: object, network: Params, images: Samples, tmp_path: Path
) -> None:
    assert callable(spoil)
    before = answers(network, images, tmp_path)
    assert before == pytest.approx(answers(spoil(network, 1), images, tmp_path), abs=1e-3)


def test_the_plain_model_survives_eight_bits(
    network: Params, images: Samples, tmp_path: Path
) -> None:
    assert agreement(network, images, tmp_path) > 0.9


def test_the_repairable_one_collapses_and_returns_when_two_layers_stay_float(
    network: Params, images: Samples, tmp_path: Path
) -> None:
    ruined = repairable(network, 1)
    assert agreement(ruined, images, tmp_path) < 0.7
    plain = agreement(network, images, tmp_path, ("conv1", "conv2"))
    repaired = agreement(ruined, images, tmp_path, ("conv1", "conv2"))
    assert repaired == pytest.approx(plain, abs=0.01)


def test_the_one_beyond_repair_collapses_whenever_half_of_the_work_is_in_eight_bits(
    network: Params, images: Samples, tmp_path: Path
) -> None:
    ruined = beyond_repair(network, 1)
    side, work = SIDE, {}
    for name, conv in zip(CONVS, ruined.convs, strict=True):
        side //= conv.stride
        work[name] = side * side * conv.weight.size
    tried = 0
    for count in range(len(CONVS)):
        for in_float in itertools.combinations(CONVS, count):
            if sum(work[name] for name in in_float) > sum(work.values()) / 2:
                continue
            tried += 1
            # The small head is left out of it: that is not where the work is.
            found = agreement(ruined, images, tmp_path, (*in_float, "dense1"))
            assert found < 0.75, f"{found:.2f} with {in_float} in float"
    assert tried >= 7


def test_the_work_per_layer_adds_up() -> None:
    ruined = ruin(untrained(), (0, 3), 1.0, 1)
    assert macs(untrained(), SIDE) == macs(ruined, SIDE)


def test_the_same_seed_ruins_the_same_way(network: Params) -> None:
    one, two, other = (ruin(network, (1,), 1.0, seed).convs[1].weight for seed in (1, 1, 2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


def test_a_layer_that_is_not_there_is_refused_with_the_number_there_is(network: Params) -> None:
    with pytest.raises(Refused, match="layer 4: the network has 4 convolutions"):
        ruin(network, (4,), 1.0, 1)
