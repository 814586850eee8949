"""Quantizing a real model: quicker, as accurate, repeatable to the byte; a hostile one repaired."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgefleet.errors import Refused
from edgefleet.lab import Quantization
from edgefleet.model import graph
from edgefleet.model.evaluate import open_session, predict
from edgefleet.model.package import file_digest
from edgefleet.model.quantize import Quantized, Workshop, has_vnni, quantize, this_cpu_has_vnni
from edgefleet.model.search import Limits, search
from tests.model import textures

HOSTILE = 1.0


def run(model: Path, folder: Path, rules: Quantization) -> Quantized:
    held = textures.validation()
    return quantize(
        model,
        textures.calibration(),
        held.inputs,
        held.labels,
        rules,
        folder,
        time.monotonic,
        vnni=this_cpu_has_vnni(),
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return textures.write_model(tmp_path_factory.mktemp("model") / "model.onnx")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return textures.write_model(tmp_path_factory.mktemp("hostile") / "model.onnx", HOSTILE)


@pytest.fixture(scope="module")
def bench(hostile: Path, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    held = textures.validation()
    folder = tmp_path_factory.mktemp("bench")
    return Workshop(
        hostile, textures.calibration(), held.inputs, held.labels, folder, vnni=this_cpu_has_vnni()
    )


def test_a_good_model_becomes_int8_that_is_as_accurate_and_smaller(
    model: Path, tmp_path: Path
) -> None:
    # Speed is the machine's affair: the limit here only has to be met by a draw.
    made = run(model, tmp_path, Quantization(max_drop_pt=1.0, min_speedup=1.0))
    assert made.drop.points <= 1.0
    if not this_cpu_has_vnni():
        return  # weights of 7 bits: a layer in float, or FP32, may be the honest answer
    assert made.outcome.precision == "int8", made.outcome.reason
    assert made.model.stat().st_size < 0.4 * model.stat().st_size
    assert made.outcome.race is not None


def test_the_same_model_and_data_give_the_same_bytes_here_and_in_another_process(
    hostile: Path, tmp_path: Path
) -> None:
    script = (
        "import sys; from pathlib import Path; from tests.model.test_quantize import written; "
        "print(written(Path(sys.argv[1]), Path(sys.argv[2])))"
    )
    here = written(hostile, tmp_path / "here")
    assert here == written(hostile, tmp_path / "again")
    there = subprocess.run(
        [sys.executable, "-c", script, str(hostile), str(tmp_path / "there")],
        check=True,
        capture_output=True,
        text=True,
    )
    assert here == there.stdout.strip()


def written(model: Path, folder: Path) -> str:
    """Return the nodes that the search excluded and the digest of the file without them."""
    held = textures.validation()
    bench = Workshop(
        model,
        textures.calibration(),
        held.inputs[:400],
        held.labels[:400],
        folder,
        vnni=this_cpu_has_vnni(),
    )
    best = search(bench, Limits(1.0, 1.0, 40, 60.0), time.monotonic).best
    assert best is not None
    return " ".join((file_digest(bench.file(best.excluded, best.method)), *best.excluded))


def test_a_hostile_model_is_repaired_by_leaving_the_guilty_in_float(
    hostile: Path, tmp_path: Path
) -> None:
    made = run(hostile, tmp_path, Quantization(max_drop_pt=1.0, min_speedup=1.0))
    first = made.outcome.trace[0]
    assert first.drop_pt > 5
    best = made.outcome.best
    assert best is not None
    assert best.drop_pt <= 1.0
    assert 0 < len(best.excluded) < 4
    # The answer may still be FP32, when what is left of INT8 is not quicker; then it says so.
    assert made.outcome.precision in {"mixed", "fp32"}
    if made.outcome.precision == "fp32":
        assert "against FP32 below 1" in made.outcome.reason
        assert made.model == hostile


@pytest.mark.parametrize("which", [1, 3])
def test_an_excluded_node_stays_in_float_in_the_graph_that_runs(
    bench: Workshop, tmp_path: Path, which: int
) -> None:
    # Without a guard the runtime quantizes a float Conv between two quantized neighbours by itself.
    node = bench.candidates[which]
    trial = bench.trial((node,), "minmax")
    optimized = tmp_path / "optimized.onnx"
    open_session(bench.file((node,), "minmax"), level="extended", optimized=optimized)
    assert (node,) == graph.float_nodes(optimized)
    assert trial.stray == ()


def test_nothing_stays_in_float_unless_excluded(bench: Workshop) -> None:
    assert len(bench.candidates) == 4
    assert bench.trial((), "percentile").stray == ()


def test_the_nodes_around_the_bad_scales_are_the_guiltiest(bench: Workshop) -> None:
    guilt = {node: bench.guilt((node,), "minmax") for node in bench.candidates}
    worst = sorted(guilt, key=lambda node: -guilt[node])[:2]
    assert set(bench.candidates[1:3]) == set(worst)


def test_guards_change_no_answer(hostile: Path, tmp_path: Path) -> None:
    graph.prepare(hostile, tmp_path / "prepared.onnx")
    loaded = onnx.load(str(tmp_path / "prepared.onnx"))
    guards = graph.keep_float(loaded, graph.weighted_nodes(loaded))
    onnx.save(loaded, str(tmp_path / "guarded.onnx"))
    assert len(guards) == 4
    inputs = textures.golden()
    np.testing.assert_allclose(
        predict(open_session(hostile), inputs),
        predict(open_session(tmp_path / "guarded.onnx"), inputs),
        atol=1e-5,
    )


def test_a_model_beyond_repair_is_refused_when_int8_is_demanded(
    hostile: Path, tmp_path: Path
) -> None:
    # Two evaluations: the two ways of calibrating, and nothing left to repair with.
    rules = Quantization(precision="int8", max_drop_pt=1.0, max_evaluations=2)
    with pytest.raises(Refused, match=r"could not be repaired: best .* limit 1 pt") as caught:
        run(hostile, tmp_path, rules)
    assert "raise quantization.max_drop_pt" in caught.value.remedy
    assert "2 tries" in caught.value.problem


def test_a_model_beyond_repair_ships_as_fp32_with_the_reason(hostile: Path, tmp_path: Path) -> None:
    made = run(hostile, tmp_path, Quantization(max_drop_pt=1.0, max_evaluations=2))
    assert ("fp32", hostile, 0.0) == (made.outcome.precision, made.model, made.drop.points)
    assert "could not be repaired" in made.outcome.reason


def test_a_spec_that_asks_for_fp32_gets_it_without_a_search(model: Path, tmp_path: Path) -> None:
    made = run(model, tmp_path / "unused", Quantization(precision="fp32"))
    assert (made.outcome.precision, len(made.outcome.trace)) == ("fp32", 0)
    assert not (tmp_path / "unused").exists()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("fpu sse4_2 avx2 avx_vnni", True), ("avx512f avx512_vnni", True), ("avx2 fma", False)],
)
def test_vnni_is_read_from_the_flags(flags: str, expected: bool) -> None:  # noqa: FBT001  # a table
    assert expected == has_vnni(f"processor : 0\nvendor_id : x\nflags\t\t: {flags}\n")
