"""May this model ship, in which precision, and what will an approver want to know?

Takes a submission folder and ends with a signed package or a refusal in words. Accuracy is measured
on the submission's own validation set, for the model, its shipped variant and the best champion
alike, so that small losses cannot add up from release to release.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edgefleet.edge.contract import MODEL_FILE, Card
from edgefleet.errors import Refused
from edgefleet.model.evaluate import (
    Drop,
    Flags,
    Race,
    open_session,
    percent,
    predict,
    right,
)
from edgefleet.model.package import build_package
from edgefleet.model.quantize import quantize, this_cpu_has_vnni
from edgefleet.model.search import Cut, Precision, Suspect, Try
from edgefleet.model.submission import DataSets, check_sets
from edgefleet.model.yardstick import Comparison, Timed, compare, timed
from edgefleet.spec import Spec


@dataclass(frozen=True, slots=True)
class Qualification:
    """What was measured and decided; `msgspec.json` writes and reads it."""

    model: str
    version: str
    precision: Precision
    reason: str
    accuracy_fp32: float
    accuracy: float
    """Of what ships, on `drop.n` samples."""
    drop: Drop
    """Of what ships against FP32."""
    speedup: Race | None
    """Of the best INT8 variant against FP32; None: none was good enough to be timed."""
    size_fp32_bytes: int
    size_bytes: int
    excluded: tuple[str, ...]
    """Nodes that what ships leaves in float."""
    vnni: bool
    """Whether the measuring CPU has the 8-bit dot product."""
    trace: tuple[Try, ...]
    ranking: tuple[Suspect, ...]
    cut: Cut
    """Which budget ended the search."""
    package: str
    """Folder of the finished package."""
    against: Comparison | None
    """With the best champion; None: there is none."""
    beside: Timed | None = None
    """Time of what ships against today's champion; None: there is none, or it was not looked at
    when this was written."""


def qualify(
    folder: Path,
    spec: Spec,
    workdir: Path,
    key: Path,
    champions: Sequence[Path],
    monotonic: Callable[[], float],
    version: str | None = None,
) -> Qualification:
    """Qualify a submission folder; the package is made in `workdir`/package.

    `key` is the signing key's file. `champions` are the package folders of what was ever
    released, today's first; the best of them is the measure. `version` is the registered version,
    which the submission could not know; None: the card's own holds.

    Raises:
        Refused: the submission is not whole, too inaccurate, worse than the best champion, or
            INT8 was demanded and cannot be had.
    """
    submission, sets = check_sets(folder)
    model, card = folder / MODEL_FILE, submission.card
    if version is not None:
        card = msgspec.structs.replace(card, version=version)
    vnni = this_cpu_has_vnni()
    base_right = _right(model, sets)
    _accurate(card, "FP32", base_right, spec)
    made = quantize(
        model,
        sets.calibration,
        sets.validation,
        sets.validation_labels,
        spec.quantization,
        workdir / "quantize",
        monotonic,
        vnni=vnni,
    )
    outcome = made.outcome
    shipped_right = base_right if outcome.precision == "fp32" else _right(made.model, sets)
    _accurate(card, outcome.precision, shipped_right, spec)
    limit_pt = spec.validation.max_loss_to_best_pt
    against = compare(card, champions, sets, shipped_right, limit_pt)
    beside = timed(champions, made.model, sets.validation)
    package = build_package(
        workdir / "package",
        made.model,
        source=model,
        golden=sets.golden,
        card=card,
        precision=outcome.precision,
        key=key,
    )
    size = made.model.stat().st_size
    shutil.rmtree(workdir / "quantize", ignore_errors=True)  # every try is a model: disk
    chosen = outcome.best if outcome.precision != "fp32" else None
    return Qualification(
        model=card.model,
        version=card.version,
        precision=outcome.precision,
        reason=outcome.reason,
        accuracy_fp32=made.accuracy_fp32,
        accuracy=made.accuracy,
        drop=made.drop,
        speedup=outcome.race,
        size_fp32_bytes=model.stat().st_size,
        size_bytes=size,
        excluded=(*chosen.excluded, *chosen.stray) if chosen else (),
        vnni=vnni,
        trace=outcome.trace,
        ranking=outcome.ranking,
        cut=outcome.cut,
        package=str(package),
        against=against,
        beside=beside,
    )


def figures(qualification: Qualification) -> dict[str, str]:
    """Return the figures by which a version is told from others, in short, by name.

    Drop and speed-up are those of what ships against FP32; a speed-up that was not measured is
    left out.
    """
    q = qualification
    quicker = None if q.speedup is None else q.speedup.ratio
    if q.precision == "fp32":
        quicker = 1.0
    return {
        "precision": q.precision,
        "accuracy_fp32": f"{q.accuracy_fp32:.4f}",
        "accuracy": f"{q.accuracy:.4f}",
        "drop_pt": f"{q.drop.points:.2f}",
        **({} if quicker is None else {"speedup": f"{quicker:.2f}"}),
    }


def describe(qualification: Qualification) -> str:
    """Return what was found of a model, in markdown, for a terminal."""
    q = qualification
    lines = [
        f"| {q.model} {q.version} | FP32 | ships: {q.precision} |",
        "|---|---|---|",
        f"| accuracy (n={q.drop.n}) | {percent(q.accuracy_fp32)} | {percent(q.accuracy)} |",
        f"| drop | | {q.drop} |",
        f"| model file | {_size(q.size_fp32_bytes)} | {_size(q.size_bytes)} |",
    ]
    if q.speedup is not None:
        what = "speed-up" if q.precision != "fp32" else "speed-up of INT8, which does not ship"
        race = q.speedup
        lines.append(f"| {what} | {race.a_ms:.2f} ms | {race.b_ms:.2f} ms: {race} |")
    if q.against is None:
        lines.append("| best champion | | none yet |")
    else:
        lines.append(
            f"| drop against best champion {q.against.champion} ({percent(q.against.accuracy)} "
            f"on the same samples) | | {q.against.drop} |"
        )
    if q.beside is not None and q.beside.race is not None:
        name, race = q.beside.champion, q.beside.race
        lines.append(
            f"| one image, against champion {name} ({race.a_ms:.2f} ms) | "
            f"| {race.b_ms:.2f} ms: {race.in_words} |"
        )
    lines.append(f"| left in float | | {_float_part(q)} |")
    text = "\n".join(lines)
    text += f"\n\nWhy {q.precision}: {q.reason}."
    if q.cut != "no":
        text += f" The search was cut short by its budget of {q.cut}."
    if not q.vnni:
        text += " Measured on a CPU without VNNI: weights use 7 bits."
    return text


def _float_part(qualification: Qualification) -> str:
    if qualification.precision == "fp32":
        return "everything"
    return ", ".join(qualification.excluded) or "nothing"


def _right(model: Path, sets: DataSets) -> Flags:
    return right(predict(open_session(model), sets.validation), sets.validation_labels)


def _accurate(card: Card, what: str, flags: Flags, spec: Spec) -> None:
    least = spec.validation.min_accuracy
    if flags.mean() < least:
        problem = (
            f"version {card.version} as {what} has accuracy {percent(float(flags.mean()))} "
            f"(n={len(flags)}) on its validation set, the least is {percent(least)}"
        )
        raise Refused(card.model, problem, "Train it better, or lower validation.min_accuracy")


def _size(size: int) -> str:
    return f"{size / 1e6:.2f} MB"
