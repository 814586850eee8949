"""From a submission to a signed package, or to a refusal that a data scientist can act upon."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgefleet.edge.contract import Card
from edgefleet.edge.trust import verify
from edgefleet.errors import Refused
from edgefleet.lab import Quantization, Validation
from edgefleet.model.evaluate import Drop, Race
from edgefleet.model.qualify import Qualification, describe, qualify
from edgefleet.model.signature import KEY_FILE, TRUST_FOLDER
from edgefleet.model.yardstick import Comparison, Timed, timed
from edgefleet.spec import Spec
from tests.model import textures

NOISY = 0.05


def spec(**parts: Mapping[str, object]) -> Spec:
    return Spec(
        workload="stripes",
        model="stripes",
        selector={"line": "camera"},
        quantization=Quantization(max_drop_pt=1.0, min_speedup=1.0).model_copy(
            update=dict(parts.get("quantization", {}))
        ),
        validation=Validation(**parts.get("validation", {})),
    )


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return textures.write_submission(tmp_path_factory.mktemp("good") / "submission")


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("noisy") / "submission"
    return textures.write_submission(folder, version="2", noise=NOISY)


@pytest.fixture(scope="module")
def first(good: Path, keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Qualification:
    work = tmp_path_factory.mktemp("work")
    return qualify(good, spec(), work, keys / KEY_FILE, (), time.monotonic)


def test_a_good_model_ends_as_a_signed_package(first: Qualification, keys: Path) -> None:
    package = Path(first.package)
    verify(package, keys / TRUST_FOLDER)
    card = msgspec.json.decode((package / "card.json").read_bytes(), type=Card)
    assert first.precision == card.precision
    assert first.size_bytes == (package / "model.onnx").stat().st_size
    assert first.accuracy > 0.9
    assert first.against is None
    golden = np.load(package / "golden-inputs.npy")
    np.testing.assert_array_equal(textures.golden(), golden)


def test_a_qualification_survives_the_ledger(first: Qualification) -> None:
    assert first == msgspec.json.decode(msgspec.json.encode(first), type=Qualification)


def test_a_second_version_is_compared_with_the_champion_on_its_own_samples(
    first: Qualification, good: Path, keys: Path, tmp_path: Path
) -> None:
    plain = spec(quantization={"precision": "fp32"})
    champion = Path(first.package)
    again = qualify(
        good, plain, tmp_path, keys / KEY_FILE, (champion,), time.monotonic, version="9"
    )
    assert again.against is not None
    assert (again.version, again.against.champion) == ("9", "stripes 1")
    card = msgspec.json.decode((Path(again.package) / "card.json").read_bytes(), type=Card)
    assert card.version == "9"
    assert again.against.accuracy == first.accuracy
    assert again.against.drop.n == first.drop.n
    beside = again.beside
    assert beside is not None
    assert beside.race is not None
    assert (beside.champion, beside.problem) == ("stripes 1", "")
    assert beside.race.low <= beside.race.ratio <= beside.race.high


def test_what_was_stored_before_champions_were_timed_is_still_read(first: Qualification) -> None:
    stored = msgspec.to_builtins(first)
    del stored["beside"]
    assert msgspec.json.decode(msgspec.json.encode(stored), type=Qualification) == first


def test_a_champion_that_cannot_be_timed_is_told_and_stops_nothing(
    first: Qualification, tmp_path: Path
) -> None:
    package = Path(first.package)
    shutil.copytree(package, tmp_path / "champion")
    (tmp_path / "champion" / "model.onnx").write_bytes(b"cut short")
    inputs = textures.validation().inputs
    told = timed([tmp_path / "champion"], package / "model.onnx", inputs)
    assert told is not None
    assert (told.champion, told.race) == ("stripes 1", None)
    assert "onnxruntime cannot load it" in told.problem
    assert timed([], package / "model.onnx", inputs) is None


def test_a_model_worse_than_the_champion_is_refused_with_both_numbers(
    first: Qualification, noisy: Path, keys: Path, tmp_path: Path
) -> None:
    plain = spec(quantization={"precision": "fp32"})
    with pytest.raises(
        Refused, match=r"against 99\.\d % of the best champion stripes 1.*limit 2 p"
    ):
        qualify(noisy, plain, tmp_path, keys / KEY_FILE, (Path(first.package),), time.monotonic)
    assert not (tmp_path / "package").exists()


def test_a_model_below_the_floor_is_refused_before_any_search(
    noisy: Path, keys: Path, tmp_path: Path
) -> None:
    strict = spec(validation={"min_accuracy": 0.99})
    with pytest.raises(
        Refused, match=r"stripes: version 2 as FP32 has accuracy .*least is 99\.0 %"
    ):
        qualify(noisy, strict, tmp_path, keys / KEY_FILE, (), time.monotonic)
    assert not (tmp_path / "quantize").exists()


def test_a_champion_with_other_inputs_cannot_be_compared(
    first: Qualification, good: Path, keys: Path, tmp_path: Path
) -> None:
    champion = tmp_path / "champion"
    champion.mkdir()
    card = msgspec.json.decode((Path(first.package) / "card.json").read_bytes(), type=Card)
    other = msgspec.structs.replace(card.input, shape=(3, 32, 32))
    changed = msgspec.structs.replace(card, input=other)
    (champion / "card.json").write_bytes(msgspec.json.encode(changed))
    plain = spec(quantization={"precision": "fp32"})
    with pytest.raises(Refused, match=r"takes uint8 of shape \(3, 32, 32\)"):
        qualify(good, plain, tmp_path / "w", keys / KEY_FILE, (champion,), time.monotonic)


def test_the_best_of_all_champions_is_the_measure_and_is_named(
    first: Qualification, noisy: Path, keys: Path, tmp_path: Path
) -> None:
    lax = spec(quantization={"precision": "fp32"}, validation={"max_loss_to_best_pt": 100})
    key = keys / KEY_FILE
    worse = qualify(noisy, lax, tmp_path / "a", key, (), time.monotonic)
    both = (Path(worse.package), Path(first.package))
    again = qualify(noisy, lax, tmp_path / "b", key, both, time.monotonic, version="3")
    assert again.against is not None
    assert (again.against.champion, again.against.left_out) == ("stripes 1", ())
    assert again.beside is not None
    assert again.beside.champion == "stripes 2"  # the one that it would replace
    plain = spec(quantization={"precision": "fp32"})
    with pytest.raises(Refused, match=r"99\.\d % of the best champion stripes 1 on the same"):
        qualify(noisy, plain, tmp_path / "c", key, both, time.monotonic, version="3")


def test_an_earlier_champion_that_cannot_be_compared_is_left_out_with_a_word(
    first: Qualification, good: Path, keys: Path, tmp_path: Path
) -> None:
    card = msgspec.json.decode((Path(first.package) / "card.json").read_bytes(), type=Card)
    other = msgspec.structs.replace(card.input, shape=(3, 32, 32))
    cards = {
        "input": msgspec.structs.replace(card, version="a", input=other),
        "labels": msgspec.structs.replace(card, version="b", labels=("cat", "dog")),
        "broken": msgspec.structs.replace(card, version="c"),
    }
    for name, changed in cards.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "card.json").write_bytes(msgspec.json.encode(changed))
        (tmp_path / name / "model.onnx").write_bytes(b"cut short")
    (tmp_path / "empty").mkdir()
    older = [tmp_path / name for name in (*cards, "empty")]
    plain = spec(quantization={"precision": "fp32"})
    champions = (Path(first.package), *older)
    found = qualify(good, plain, tmp_path / "w", keys / KEY_FILE, champions, time.monotonic)
    assert found.against is not None
    assert found.against.champion == "stripes 1"
    shape, labels, broken, empty = found.against.left_out
    assert "stripes a: version 1 takes uint8" in shape
    assert "stripes b: none of its labels ('cat', 'dog') is one of" in labels
    assert "stripes c: does not run here" in broken
    assert "card.json: is no card" in empty


def test_the_form_shows_every_number_that_an_approver_needs() -> None:
    shown = describe(
        Qualification(
            model="stripes",
            version="7",
            precision="mixed",
            reason="speed-up x1.73 [1.70, 1.75] against FP32 reaches 1.1",
            accuracy_fp32=0.953,
            accuracy=0.951,
            drop=Drop(0.2, 0.61, 1000, 3, 5),
            speedup=Race(1.73, 1.70, 1.75, 0.52, 0.30, 200),
            size_fp32_bytes=990_000,
            size_bytes=310_000,
            excluded=("conv2",),
            vnni=True,
            trace=(),
            ranking=(),
            cut="seconds",
            package="unused",
            against=Comparison("stripes 6", 0.949, Drop(-0.2, 0.4, 1000, 6, 4)),
            beside=Timed("stripes 5", Race(1.3, 1.21, 1.38, 0.39, 0.30, 200)),
        )
    )
    assert shown.splitlines() == [
        "| stripes 7 | FP32 | ships: mixed |",
        "|---|---|---|",
        "| accuracy (n=1000) | 95.3 % | 95.1 % |",
        "| drop | | 0.20 pt (upper bound 0.61 pt, n=1000) |",
        "| model file | 0.99 MB | 0.31 MB |",
        "| speed-up | 0.52 ms | 0.30 ms: x1.73 [1.70, 1.75] |",
        (
            "| drop against best champion stripes 6 (94.9 % on the same samples) | "
            "| -0.20 pt (upper bound 0.40 pt, n=1000) |"
        ),
        (
            "| one image, against champion stripes 5 (0.39 ms) | "
            "| 0.30 ms: 1.30x as fast [1.21, 1.38] |"
        ),
        "| left in float | | conv2 |",
        "",
        (
            "Why mixed: speed-up x1.73 [1.70, 1.75] against FP32 reaches 1.1. "
            "The search was cut short by its budget of seconds."
        ),
    ]
