"""From an FP32 model to the best INT8 one that is honest, or the reason why there is none.

Static quantization in QDQ form: activations unsigned, weights signed and per channel, which is
what x86 has instructions for. Calibration runs once for each method, its ranges serve every try.
The same model and data give the same bytes, in this process and in any other.
"""

from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.calibrate import create_calibrator, save_tensors_data

from edgefleet.errors import Refused
from edgefleet.lab import Quantization
from edgefleet.model import graph
from edgefleet.model.evaluate import (
    Drop,
    Labels,
    Race,
    Samples,
    open_session,
    paired_drop,
    predict,
    race,
    right,
)
from edgefleet.model.search import Limits, Method, Outcome, Trial, search

_CPUINFO: Final = Path("/proc/cpuinfo")
_VNNI_FLAGS: Final = frozenset({"avx512_vnni", "avx_vnni", "avxvnni"})
_CALIBRATION_STRIDE: Final = 32  # percentile calibration holds all activations of one stride
_GUILT_SAMPLES: Final = 128
_PERCENTILE: Final = 99.9


def has_vnni(cpuinfo: str) -> bool:
    """Say whether a /proc/cpuinfo text names the 8-bit dot product, which cannot saturate."""
    flags = (line.partition(":")[2] for line in cpuinfo.splitlines() if line.startswith("flags"))
    return any(_VNNI_FLAGS.intersection(line.split()) for line in flags)


def this_cpu_has_vnni() -> bool:
    """Say whether this machine's CPU has it; where nothing tells, it has not."""
    try:
        return has_vnni(_CPUINFO.read_text(encoding="utf-8"))
    except OSError:
        return False


class _Feed(CalibrationDataReader):  # type: ignore[misc]  # the library ships no types
    def __init__(self, name: str, inputs: Samples) -> None:
        self._feeds = iter([{name: inputs}])

    def get_next(self) -> dict[str, Samples] | None:
        return next(self._feeds, None)


class Workshop:
    """Quantizes one model into files and measures them: the hands of `search`."""

    def __init__(
        self,
        model: Path,
        calibration: Samples,
        validation: Samples,
        labels: Labels,
        folder: Path,
        *,
        vnni: bool,
    ) -> None:
        """Prepare the graph and answer the validation set in FP32; `folder` takes all files."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._calibration = calibration
        self._validation = validation
        self._labels = labels
        self._reduce_range = not vnni
        self._prepared = folder / "prepared.onnx"
        graph.prepare(model, self._prepared)
        loaded = onnx.load(str(self._prepared))
        self._candidates = graph.weighted_nodes(loaded)
        self._fringe = graph.fringe_nodes(loaded)
        self._session = open_session(model)
        self.answers = predict(self._session, validation)
        self.right = right(self.answers, labels)
        step = max(len(validation) // _GUILT_SAMPLES, 1)
        self._subset = slice(0, step * _GUILT_SAMPLES, step)

    @property
    def candidates(self) -> tuple[str, ...]:
        """The nodes that can be excluded, in the graph's order."""
        return self._candidates

    def file(self, excluded: tuple[str, ...], method: Method) -> Path:
        """Return the quantized model, made if it is not there yet."""
        name = hashlib.sha256("\n".join((method, *excluded)).encode()).hexdigest()[:16]
        target = self._folder / f"{name}.onnx"
        if not target.exists():
            loaded = onnx.load(str(self._prepared))
            guards = graph.keep_float(loaded, excluded)
            source = self._folder / "source.onnx"
            onnx.save(loaded, str(source))
            self._write(source, target, method, exclude=(*self._fringe, *excluded, *guards))
        return target

    def trial(self, excluded: tuple[str, ...], method: Method) -> Trial:
        """Quantize all but the excluded nodes and measure."""
        target = self.file(excluded, method)
        optimized = self._folder / "optimized.onnx"
        open_session(target, level="extended", optimized=optimized)
        answers = predict(open_session(target), self._validation)
        now_right = right(answers, self._labels)
        left = set(graph.float_nodes(optimized)) - set(excluded)
        return Trial(
            accuracy=float(now_right.mean()),
            drop=paired_drop(self.right, now_right),
            size_bytes=target.stat().st_size,
            stray=tuple(sorted(left)),
        )

    def guilt(self, nodes: tuple[str, ...], method: Method) -> float:
        """Return the mean change of the answers when these nodes alone are quantized.

        The change of probabilities ranks finer than accuracy does, and needs fewer samples.
        """
        target = self._folder / "alone.onnx"
        self._write(self._prepared, target, method, only=nodes)
        answers = predict(open_session(target), self._validation[self._subset])
        return float(np.abs(answers - self.answers[self._subset]).mean())

    def race(self, excluded: tuple[str, ...], method: Method) -> Race:
        """Time a model that was tried before (B) against FP32 (A), one thread each."""
        session = open_session(self.file(excluded, method))
        return race(self._session, session, self._validation)

    def _ranges(self, method: Method) -> Path:
        cache = self._folder / f"ranges-{method}.json"
        if cache.exists():
            return cache
        percentile = method == "percentile"
        with redirect_stdout(io.StringIO()):  # the library prints its progress
            calibrator = create_calibrator(
                self._prepared,
                augmented_model_path=str(self._folder / "augmented.onnx"),
                calibrate_method=_METHODS[method],
                extra_options={"percentile": _PERCENTILE, "symmetric": False} if percentile else {},
            )
            name = self._session.get_inputs()[0].name
            for i in range(0, len(self._calibration), _CALIBRATION_STRIDE):
                part = self._calibration[i : i + _CALIBRATION_STRIDE]
                calibrator.collect_data(_Feed(name, part))
            save_tensors_data(calibrator.compute_data(), cache)
        return cache

    def _write(
        self,
        source: Path,
        target: Path,
        method: Method,
        *,
        exclude: tuple[str, ...] = (),
        only: tuple[str, ...] = (),
    ) -> None:
        quantize_static(
            source,
            target,
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=self._reduce_range,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=list(exclude),
            nodes_to_quantize=list(only),
            calibrate_method=_METHODS[method],
            calibration_cache_path=self._ranges(method),
        )


_METHODS: Final = {
    "minmax": CalibrationMethod.MinMax,
    "percentile": CalibrationMethod.Percentile,
}


@dataclass(frozen=True, slots=True)
class Quantized:
    """The file to ship and the search that led to it."""

    model: Path
    """The FP32 file itself where the answer is fp32."""
    outcome: Outcome
    accuracy_fp32: float
    accuracy: float
    drop: Drop


def quantize(
    model: Path,
    calibration: Samples,
    validation: Samples,
    labels: Labels,
    rules: Quantization,
    folder: Path,
    monotonic: Callable[[], float],
    *,
    vnni: bool,
) -> Quantized:
    """Quantize `model` as the rules say; all files go to `folder`, which is emptied.

    Raises:
        Refused: `precision: int8` is demanded and INT8 loses too much or gains too little.
    """
    if rules.precision == "fp32":
        session_right = right(predict(open_session(model), validation), labels)
        return _plain(model, float(session_right.mean()), paired_drop(session_right, session_right))
    shutil.rmtree(folder, ignore_errors=True)
    bench = Workshop(model, calibration, validation, labels, folder, vnni=vnni)
    limits = Limits(
        max_drop_pt=rules.max_drop_pt,
        min_speedup=rules.min_speedup,
        max_evaluations=rules.max_evaluations,
        max_s=rules.max_s,
    )
    outcome = search(bench, limits, monotonic)
    base = float(bench.right.mean())
    best = outcome.best
    if outcome.precision == "fp32" and rules.precision == "int8":
        raise Refused(
            "quantization",
            f"precision int8 is demanded, but {outcome.reason} (FP32 accuracy {100 * base:.1f} %, "
            f"{len(outcome.trace)} tries)",
            "Retrain with quantization in mind (regular weight scales, clipped activations, or "
            "quantization-aware training), raise quantization.max_drop_pt or lower min_speedup, "
            "or set quantization.precision to auto, which ships FP32",
        )
    if outcome.precision == "fp32" or best is None or outcome.drop is None:
        return Quantized(model, outcome, base, base, paired_drop(bench.right, bench.right))
    chosen = bench.file(best.excluded, best.method)
    return Quantized(chosen, outcome, base, best.accuracy, outcome.drop)


def _plain(model: Path, accuracy: float, drop: Drop) -> Quantized:
    outcome = Outcome(
        precision="fp32",
        reason="the spec asks for FP32 (quantization.precision)",
        best=None,
        race=None,
        drop=None,
        trace=(),
    )
    return Quantized(model, outcome, accuracy, accuracy, drop)
