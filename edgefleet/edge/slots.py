"""A slot: one verified package, loaded and able to answer. Built whole, then never changed.

A server has one for serving and perhaps one for shadow; swapping inside a process is to build a new
one and drop the old (edgefleet.edge.swap). Drop the last reference off the event loop: destroying a
session takes 20 to 40 ms.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec
import numpy as np
import onnxruntime as ort

from edgefleet.edge.contract import (
    CARD_FILE,
    GOLDEN_INPUTS_FILE,
    GOLDEN_OUTPUTS_FILE,
    MODEL_FILE,
    Card,
    Digest,
    SelfCheck,
)
from edgefleet.edge.errors import PackageError
from edgefleet.edge.trust import REPACKAGE, read_verified

Tensor: TypeAlias = np.ndarray[Any, np.dtype[Any]]

_ORT_TYPES: Final = {"uint8": "tensor(uint8)", "float32": "tensor(float)"}
_GOLDEN_BATCH: Final = 16
_WARM_UP_RUNS: Final = 5


@dataclass(frozen=True, slots=True)
class Slot:
    """A loaded package; `run` may be called from several threads at once."""

    digest: Digest
    card: Card
    session: ort.InferenceSession
    golden_inputs: Tensor
    golden_outputs: Tensor

    def run(self, batch: Tensor) -> Tensor:
        """Return the outputs [batch, len(labels)] for inputs [batch, *card.input.shape]."""
        answer: Tensor = self.session.run([self.card.output.name], {self.card.input.name: batch})[0]
        return answer

    def check(self) -> SelfCheck:
        """Answer the golden set: within the card's tolerance, and the same class each time."""
        total = len(self.golden_inputs)
        agreed = 0
        worst = 0.0
        for start in range(0, total, _GOLDEN_BATCH):
            part = slice(start, start + _GOLDEN_BATCH)
            expected = self.golden_outputs[part]
            found = self.run(self.golden_inputs[part])
            if found.shape != expected.shape:
                reason = f"golden outputs have shape {expected.shape}, the model's {found.shape}"
                return SelfCheck(passed=False, agreed=0, total=total, reason=reason)
            difference = np.abs(found - expected).max(axis=1)
            worst = max(worst, float(difference.max()))
            same = found.argmax(axis=1) == expected.argmax(axis=1)
            agreed += int(np.count_nonzero((difference <= self.card.tolerance) & same))
        if agreed == total > 0:
            return SelfCheck(passed=True, agreed=agreed, total=total)
        reason = (
            f"golden set: {agreed} of {total} answers agree, largest difference {worst:.3g}, "
            f"tolerance {self.card.tolerance:.3g}: not made for this hardware or runtime"
        )
        return SelfCheck(passed=False, agreed=agreed, total=total, reason=reason)

    def warm_up(self) -> float:
        """Run a few single inferences and return the quickest one's seconds."""
        single = np.ascontiguousarray(self.golden_inputs[:1])
        seconds = []
        for _ in range(_WARM_UP_RUNS):
            start = time.perf_counter()
            self.run(single)
            seconds.append(time.perf_counter() - start)
        return min(seconds)

    def answers_like(self, other: Slot) -> bool:
        """Say whether both take the same input, so that one can shadow the other."""
        mine, its = self.card.input, other.card.input
        return (mine.dtype, mine.shape) == (its.dtype, its.shape)


def load(package: Path, trust_dir: Path, digest: Digest, threads: int) -> Slot:
    """Return a slot with a package whose signature holds; the golden set is not answered yet.

    Raises:
        PackageError: the signature does not hold, or the model and its card do not fit.
    """
    content = read_verified(package, trust_dir)
    try:
        card = msgspec.json.decode(content[CARD_FILE], type=Card)
    except msgspec.DecodeError as error:
        raise PackageError(package / CARD_FILE, f"is no card ({error})", REPACKAGE) from error
    slot = Slot(
        digest=digest,
        card=card,
        session=_session(package, content[MODEL_FILE], threads),
        golden_inputs=_array(package, content, GOLDEN_INPUTS_FILE),
        golden_outputs=_array(package, content, GOLDEN_OUTPUTS_FILE),
    )
    _fit(package, slot)
    return slot


def _session(package: Path, model: bytes, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Else the threads spin after each request and burn whole cores between two of them.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    # From the verified bytes, since the package's file may have changed; as a file that only this
    # process has, since onnxruntime parses a file beside other threads and bytes with the
    # interpreter held: 1 ms for each MB (measured with 283 MB: 260 ms, and 11 ms so), in which
    # a model that is serving answers nobody. A model in such a file can name no other file either.
    handle = os.memfd_create(MODEL_FILE)
    try:
        with open(handle, "wb", closefd=False) as file:
            file.write(model)
        return ort.InferenceSession(
            f"/proc/self/fd/{handle}", options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime has no common base for its errors
        raise PackageError(
            package / MODEL_FILE,
            f"onnxruntime {ort.__version__} does not load it ({error})",
            REPACKAGE,
        ) from error
    finally:
        os.close(handle)


def _array(package: Path, content: Mapping[str, bytes], name: str) -> Tensor:
    try:
        array: Tensor = np.load(io.BytesIO(content[name]), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise PackageError(package / name, f"is not a numpy array ({error})", REPACKAGE) from error
    return array


def _fit(package: Path, slot: Slot) -> None:
    """Refuse a card that does not describe its model, or a golden set that does not fit it."""
    card = slot.card
    inputs = {item.name: item.type for item in slot.session.get_inputs()}
    outputs = {item.name: item.type for item in slot.session.get_outputs()}
    wanted = {card.input.name: _ORT_TYPES[card.input.dtype]}
    problems = []
    if inputs != wanted:
        problems.append(f"the model's inputs are {inputs}, the card says {wanted}")
    if outputs.get(card.output.name) != _ORT_TYPES[card.output.dtype]:
        problems.append(f"the model's outputs are {outputs}, the card says {card.output.name}")
    if card.output.shape != (len(card.labels),):
        problems.append(f"output shape {card.output.shape} for {len(card.labels)} labels")
    golden = slot.golden_inputs
    if golden.shape[1:] != card.input.shape or golden.dtype != card.input.dtype or not len(golden):
        problems.append(f"golden inputs are {golden.dtype}{list(golden.shape)}")
    if slot.golden_outputs.shape != (len(golden), len(card.labels)):
        problems.append(f"golden outputs have shape {slot.golden_outputs.shape}")
    if problems:
        raise PackageError(package / CARD_FILE, "; ".join(problems), REPACKAGE)
