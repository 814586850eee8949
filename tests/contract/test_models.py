"""What every adapter of the port `Models` does, and what MLflow's does beside it."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import requests
from onnx import TensorProto, helper

from edgefleet.adapters.memory.models import MemoryModels
from edgefleet.adapters.mlflow import CONTENT_TAG, FILES_TAG, MlflowModels
from edgefleet.adapters.mlflow_submission import digests
from edgefleet.adapters.servers import down, mlflow_server, up
from edgefleet.edge.contract import MODEL_FILE
from edgefleet.errors import Refused, Unreachable
from edgefleet.fleet.trigger import CANDIDATE, RELEASE_TAG, REQUESTED
from edgefleet.ports import Models, ModelVersion
from edgefleet.spec import On


@pytest.fixture(scope="module")
def mlflow_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("home")
    yield up(home, [mlflow_server(home)]).mlflow_url
    down(home)


def in_mlflow(request: pytest.FixtureRequest) -> Models:
    return MlflowModels(request.getfixturevalue("mlflow_url"))


def in_memory(request: pytest.FixtureRequest) -> Models:
    assert request.node
    return MemoryModels()


ADAPTERS: tuple[Callable[[pytest.FixtureRequest], Models], ...] = (in_memory, in_mlflow)


@pytest.fixture(
    params=[
        pytest.param(make, marks=pytest.mark.servers if make is in_mlflow else (), id=make.__name__)
        for make in ADAPTERS
    ]
)
def models(request: pytest.FixtureRequest) -> Models:
    made: Models = request.param(request)
    return made


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Name a model of the test's own: the registry is shared."""
    test: str = request.node.name
    return test.translate(str.maketrans("[]", "--"))[:80].strip("-")


def submission(folder: Path, model: str, bias: float = 0.0) -> Path:
    """Write a whole submission: y = x + bias, batch first."""
    (folder / "data").mkdir(parents=True)
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "bias"], ["y"])],
        "sum",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor("bias", TensorProto.FLOAT, [2], [bias, bias])],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.save(made, str(folder / MODEL_FILE))
    card = {
        "model": model,
        "version": "1",
        "task": "classification",
        "metric": "accuracy",
        "labels": ["good", "bad"],
        "input": {"name": "x", "dtype": "float32", "shape": [2]},
        "output": {"name": "y", "dtype": "float32", "shape": [2]},
    }
    (folder / "card.json").write_text(json.dumps(card))
    inputs = np.zeros((4, 2), np.float32)
    for part in ("calibration", "golden"):
        np.savez(folder / "data" / f"{part}.npz", inputs=inputs)
    np.savez(folder / "data" / "validation.npz", inputs=inputs, labels=np.zeros(4, np.int64))
    return folder


def test_an_unknown_model_has_no_versions(models: Models, name: str) -> None:
    assert models.versions(name) == ()


def test_what_is_fetched_is_what_was_registered(models: Models, name: str, tmp_path: Path) -> None:
    folder = submission(tmp_path / "in", name)
    made = models.register(folder, {"accuracy": 0.97})
    assert (made.model, made.version, made.tags[RELEASE_TAG]) == (name, "1", "requested")
    models.fetch(name, "1", tmp_path / "out")
    assert digests(tmp_path / "out") == digests(folder)
    names = sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*"))
    assert names == sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))
    models.fetch(name, "1", tmp_path / "out")


def test_the_same_content_again_is_the_same_version(
    models: Models, name: str, tmp_path: Path
) -> None:
    folder = submission(tmp_path / "in", name)
    first = models.register(folder, {})
    again = models.register(submission(tmp_path / "copy", name), {"accuracy": 0.5})
    assert replace(again, tags={}) == replace(first, tags={})
    assert len(models.versions(name)) == 1


def test_versions_come_newest_first_with_tags_and_aliases(
    models: Models, name: str, tmp_path: Path
) -> None:
    for number in range(3):
        models.register(submission(tmp_path / str(number), name, bias=number), {})
    models.alias(name, "champion", "1")
    models.alias(name, "champion", "2")
    models.alias(name, "frozen", "2")
    models.record(name, "2", {"edgefleet.phase": "released"})
    found = models.versions(name)
    assert [one.version for one in found] == ["3", "2", "1"]
    assert [one.aliases for one in found] == [(), ("champion", "frozen"), ()]
    assert found[1].tags["edgefleet.phase"] == "released"
    assert found[0].registered_at >= found[1].registered_at >= found[2].registered_at
    assert found[0].registered_at.tzinfo is not None


def numbers(found: tuple[ModelVersion, ...]) -> list[str]:
    return [one.version for one in found]


def test_who_asks_for_a_release_by_tag_alias_or_being_there(
    models: Models, name: str, tmp_path: Path
) -> None:
    assert models.asking(name, "tag", 0) == ()
    assert models.asking(name, "any", None) == ()
    assert models.asking(name, "alias", None) == ()
    for number in range(12):
        models.register(submission(tmp_path / str(number), name, bias=number), {})
    everyone = [str(number + 1) for number in range(12)]
    assert numbers(models.asking(name, "tag", None)) == everyone
    for version in ("1", "2", "11"):
        models.record(name, version, {RELEASE_TAG: "admitted"})
    asking = [one for one in everyone if one not in {"1", "2", "11"}]
    assert numbers(models.asking(name, "tag", None)) == asking
    assert numbers(models.asking(name, "any", None)) == ["12"]
    assert numbers(models.asking(name, "any", 9)) == ["10", "11", "12"]
    assert numbers(models.asking(name, "any", 12)) == []
    assert numbers(models.asking(name, "alias", None)) == []
    models.alias(name, CANDIDATE, "9")
    assert numbers(models.asking(name, "alias", None)) == ["9"]


@pytest.mark.servers
@pytest.mark.parametrize(("on", "after", "most"), [("tag", 0, 1), ("any", 200, 1), ("alias", 0, 2)])
def test_a_look_at_many_versions_takes_one_or_two_requests(
    mlflow_url: str, name: str, monkeypatch: pytest.MonkeyPatch, on: On, after: int, most: int
) -> None:
    models = MlflowModels(mlflow_url)
    models._client.create_registered_model(name)
    for number in range(1, 206):
        asks = {RELEASE_TAG: REQUESTED} if number in {3, 203} else {}
        models._client.create_model_version(
            name, "s3://nowhere/x", tags={CONTENT_TAG: "x", **asks}, await_creation_for=0
        )
    models.alias(name, CANDIDATE, "7")
    sent: list[str] = []
    whole = requests.Session.request

    def counted(self: requests.Session, method: str, url: str, **rest: Any) -> Any:
        sent.append(url)
        return whole(self, method, url, **rest)

    monkeypatch.setattr(requests.Session, "request", counted)
    found = numbers(models.asking(name, on, after))
    expected = {"tag": ["3", "203"], "any": ["201", "202", "203", "204", "205"], "alias": ["7"]}
    assert found == expected[on]
    assert 1 <= len(sent) <= most, sent


@pytest.mark.servers
def test_a_version_that_lacks_its_data_asks_for_nothing(mlflow_url: str, name: str) -> None:
    models = MlflowModels(mlflow_url)
    models._client.create_registered_model(name)
    models._client.create_model_version(name, "s3://nowhere/x", await_creation_for=0)
    assert models.asking(name, "any", None) == ()
    assert models.asking(name, "any", 0) == ()


def test_what_became_of_a_version_survives_a_second_registration(
    models: Models, name: str, tmp_path: Path
) -> None:
    folder = submission(tmp_path / "in", name)
    models.register(folder, {})
    models.record(name, "1", {RELEASE_TAG: "released"})
    assert models.register(folder, {}).tags[RELEASE_TAG] == "released"


def test_a_missing_version_is_refused_in_every_way(
    models: Models, name: str, tmp_path: Path
) -> None:
    models.register(submission(tmp_path / "in", name), {})
    with pytest.raises(Refused, match=name):
        models.fetch(name, "7", tmp_path / "out")
    with pytest.raises(Refused, match=name):
        models.record(name, "7", {"edgefleet.phase": "released"})
    with pytest.raises(Refused, match=name):
        models.alias(name, "champion", "7")
    assert not (tmp_path / "out").exists()


def test_a_folder_without_a_model_is_refused(models: Models, name: str, tmp_path: Path) -> None:
    folder = submission(tmp_path / "in", name)
    (folder / MODEL_FILE).unlink()
    with pytest.raises(Refused, match=MODEL_FILE):
        models.register(folder, {})
    assert models.versions(name) == ()


@pytest.mark.servers
def test_a_file_that_is_not_what_was_registered_is_refused(
    mlflow_url: str, name: str, tmp_path: Path
) -> None:
    models = MlflowModels(mlflow_url)
    folder = submission(tmp_path / "in", name)
    made = models.register(folder, {})
    files = {**json.loads(made.tags[FILES_TAG]), "card.json": "0" * 64}
    models.record(name, "1", {FILES_TAG: json.dumps(files)})
    with pytest.raises(Refused, match=r"card.json has sha256 [0-9a-f]{64}, registered was 0{64}"):
        models.fetch(name, "1", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    models.record(name, "1", {FILES_TAG: json.dumps({"data/none.npz": "0" * 64})})
    with pytest.raises(Refused, match=r"lacks the artifact submission/data/none.npz"):
        models.fetch(name, "1", tmp_path / "out")
    models.record(name, "1", {FILES_TAG: "{}"})
    with pytest.raises(Refused, match="edgefleet did not register it"):
        models.fetch(name, "1", tmp_path / "out")


@pytest.mark.servers
def test_a_registration_that_broke_off_is_completed_by_the_next(
    mlflow_url: str, name: str, tmp_path: Path
) -> None:
    models = MlflowModels(mlflow_url)
    folder = submission(tmp_path / "in", name)
    made = models.register(folder, {})
    models._client.delete_model_version_tag(name, made.version, RELEASE_TAG)
    assert RELEASE_TAG not in models.versions(name)[0].tags
    again = models.register(folder, {})
    assert (again.version, again.tags[RELEASE_TAG]) == (made.version, "requested")
    assert again.tags[CONTENT_TAG] == made.tags[CONTENT_TAG]


@pytest.mark.servers
def test_mlflow_shows_metrics_parameters_and_a_model_with_its_signature(
    mlflow_url: str, name: str, tmp_path: Path
) -> None:
    models = MlflowModels(mlflow_url)
    made = models.register(submission(tmp_path / "in", name), {"accuracy": 0.97})
    client = models._client
    run = client.get_run(client.get_model_version(name, made.version).run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {"accuracy": 0.97}
    assert run.data.params["input"] == "x float32 [2]"
    described = Path(client.download_artifacts(run.info.run_id, "model/MLmodel", str(tmp_path)))
    assert '"name": "x"' in described.read_text()


def test_a_server_that_is_not_there_is_told_quickly(tmp_path: Path) -> None:
    models = MlflowModels("http://127.0.0.1:1")
    models._client  # noqa: B018 - the import is not what is timed
    start = time.monotonic()
    with pytest.raises(Unreachable, match=r"127.0.0.1:1 gave no answer to versions of model m"):
        models.versions("m")
    with pytest.raises(Unreachable):
        models.fetch("m", "1", tmp_path)
    assert time.monotonic() - start < 60  # MLflow itself would try for minutes
