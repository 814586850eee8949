"""The folder that ships: model, card, golden set with reference answers, signature.

The same model, card, golden inputs and key give the same bytes. The reference answers are those of
the shipped variant on this CPU. Another CPU has other kernels, so a node may differ a little: the
tolerance says by how much, and is measured, not guessed.
"""

from __future__ import annotations

import hashlib
import math
import shutil
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from edgefleet.edge.contract import (
    CARD_FILE,
    GOLDEN_INPUTS_FILE,
    GOLDEN_OUTPUTS_FILE,
    MODEL_FILE,
    Card,
    Digest,
    parse_digest,
)
from edgefleet.errors import Refused
from edgefleet.model.evaluate import Samples, open_session, predict
from edgefleet.model.search import Precision
from edgefleet.model.signature import sign

_TOLERANCE_FLOOR: Final = {"fp32": 0.002, "int8": 0.02, "mixed": 0.02}
"""On probabilities. Float kernels differ by the order of their sums; INT8 ones by a rounding of
half a step here and there, of which the softmax makes a few thousandths."""
_TOLERANCE_CEILING: Final = 0.1


def file_digest(path: Path) -> Digest:
    """Return the digest of a file's bytes."""
    with path.open("rb") as stream:
        return parse_digest(f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}")


def tolerance(model: Path, golden: Samples, precision: Precision) -> float:
    """Return how far a golden answer may be off on another CPU.

    Twice the largest difference between this CPU's kernels and the graph run as it is written (a
    stand-in for a foreign CPU), rounded up to a thousandth; never below the floor of its precision,
    and never so wide that a wrong model would pass.
    """
    fast = predict(open_session(model), golden)
    plain = predict(open_session(model, level="none"), golden)
    measured = math.ceil(2000 * float(np.abs(fast - plain).max())) / 1000
    return min(max(measured, _TOLERANCE_FLOOR[precision]), _TOLERANCE_CEILING)


def build_package(
    folder: Path,
    model: Path,
    *,
    source: Path,
    golden: Samples,
    card: Card,
    precision: Precision,
    key: Path,
) -> Path:
    """Write and sign the package of `model` in `folder`, which is made anew; return `folder`.

    `source` is the FP32 file that `model` was made from (the same file for FP32); `golden` are the
    inputs of the golden set. Precision, tolerance and source replace what `card` says of them.

    Raises:
        Refused: there are no golden inputs, or their answers are no probabilities of the labels.
    """
    if len(golden) == 0:
        raise Refused("golden set", "holds no inputs", "A node could not check itself: add some")
    answers = predict(open_session(model), golden)
    if answers.shape != (len(golden), len(card.labels)) or not np.isfinite(answers).all():
        raise Refused(
            card.model,
            f"answers the golden set with shape {answers.shape} or values that are no numbers, "
            f"but its card names {len(card.labels)} labels",
            "Correct the card's labels or the model's output",
        )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copyfile(model, folder / MODEL_FILE)
    stamped = msgspec.structs.replace(
        card,
        precision=precision,
        tolerance=tolerance(model, golden, precision),
        source=None if precision == "fp32" else file_digest(source),
    )
    (folder / CARD_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(stamped)) + b"\n")
    np.save(folder / GOLDEN_INPUTS_FILE, np.ascontiguousarray(golden), allow_pickle=False)
    np.save(folder / GOLDEN_OUTPUTS_FILE, answers, allow_pickle=False)
    sign(folder, key)
    return folder
