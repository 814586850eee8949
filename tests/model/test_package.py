"""The folder that ships: whole, signed, repeatable, and able to check itself."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgefleet.edge.contract import PACKAGE_FILES, Card
from edgefleet.edge.trust import verify
from edgefleet.errors import Refused
from edgefleet.model.evaluate import open_session, predict
from edgefleet.model.package import build_package, file_digest
from edgefleet.model.search import Precision
from edgefleet.model.signature import KEY_FILE, TRUST_FOLDER
from tests.model import textures

CARD = msgspec.convert(textures.card(), Card)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return textures.write_model(tmp_path_factory.mktemp("model") / "trained.onnx")


def build(folder: Path, model: Path, keys: Path, precision: Precision = "int8") -> Path:
    return build_package(
        folder,
        model,
        source=model,
        golden=textures.golden(),
        card=CARD,
        precision=precision,
        key=keys / KEY_FILE,
    )


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_package_has_its_files_and_no_other_and_its_signature_holds(
    tmp_path: Path, model: Path, keys: Path
) -> None:
    package = build(tmp_path / "package", model, keys)
    assert set(PACKAGE_FILES) == set(content(package))
    verify(package, keys / TRUST_FOLDER)


def test_building_twice_gives_the_same_bytes(tmp_path: Path, model: Path, keys: Path) -> None:
    first = content(build(tmp_path / "one", model, keys))
    assert first == content(build(tmp_path / "another", model, keys))
    assert first == content(build(tmp_path / "one", model, keys))


def test_the_golden_answers_are_those_of_the_shipped_model(
    tmp_path: Path, model: Path, keys: Path
) -> None:
    package = build(tmp_path / "package", model, keys)
    inputs = np.load(package / "golden-inputs.npy")
    np.testing.assert_array_equal(textures.golden(), inputs)
    np.testing.assert_array_equal(
        predict(open_session(package / "model.onnx"), inputs),
        np.load(package / "golden-outputs.npy"),
    )


def test_the_card_says_what_it_was_made_from_and_how_far_an_answer_may_be_off(
    tmp_path: Path, model: Path, keys: Path
) -> None:
    made = {
        precision: msgspec.json.decode(
            (build(tmp_path / precision, model, keys, precision) / "card.json").read_bytes(),
            type=Card,
        )
        for precision in ("fp32", "int8")
    }
    assert (file_digest(model), "int8") == (made["int8"].source, made["int8"].precision)
    assert (made["fp32"].source, made["fp32"].precision) == (None, "fp32")
    assert 0 < made["fp32"].tolerance < made["int8"].tolerance <= 0.1


def test_a_package_that_could_not_check_itself_is_not_built(
    tmp_path: Path, model: Path, keys: Path
) -> None:
    with pytest.raises(Refused, match="golden set: holds no inputs"):
        build_package(
            tmp_path / "package",
            model,
            source=model,
            golden=textures.golden()[:0],
            card=CARD,
            precision="fp32",
            key=keys / KEY_FILE,
        )


def test_answers_that_do_not_fit_the_labels_are_refused(
    tmp_path: Path, model: Path, keys: Path
) -> None:
    card = msgspec.structs.replace(CARD, labels=("ok", "scratch"))
    with pytest.raises(Refused, match=r"shape \(16, 4\).*names 2 labels"):
        build_package(
            tmp_path / "package",
            model,
            source=model,
            golden=textures.golden(),
            card=card,
            precision="fp32",
            key=keys / KEY_FILE,
        )
