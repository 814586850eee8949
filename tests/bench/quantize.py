"""`make bench-quantize`: what quantization gains and costs on the sample models, on this machine.

Trains the sample model (minutes), spreads its layers apart for the hostile ones, and quantizes each
by the default rules. Writes docs/benchmarks-quantize.md; fails when a target is missed. Targets on
speed hold for a CPU with VNNI only. An argument names a folder that keeps the trained models.
"""

from __future__ import annotations

import platform
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import onnx

from edgefleet.edge.contract import MODEL_FILE
from edgefleet.errors import Refused
from edgefleet.lab import Quantization
from edgefleet.machine import cpu
from edgefleet.model.export import to_onnx
from edgefleet.model.hostile import ruin
from edgefleet.model.quantize import Quantized, quantize, this_cpu_has_vnni
from edgefleet.model.recipes import CARD, sample_params, sample_submission
from edgefleet.model.submission import DataSets, load_sets

SEED: Final = 1
PAGE: Final = Path("docs/benchmarks-quantize.md")
COMMAND: Final = "make bench-quantize"
MIN_SPEEDUP: Final = 2.0
MIN_ACCURACY: Final = 0.9
MAX_DROP_PT: Final = 0.5
MAX_REPAIRED_PT: Final = 1.0


@dataclass(frozen=True)
class Row:
    name: str
    made: Quantized
    refusal: str
    """What `precision: int8` says to it; empty: it ships."""
    seconds: float
    met: bool
    target: str


def main(arguments: list[str]) -> int:
    vnni = this_cpu_has_vnni()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        shelf = Path(arguments[0]) if arguments else work
        for recipe in ("better", "repairable", "beyond-repair"):
            sample_submission(recipe, work / recipe, SEED, shelf)
        sets = load_sets(work / "better")
        spread = work / "spread.onnx"
        onnx.save(
            to_onnx(
                ruin(sample_params("better", SEED, shelf), (1,), 1.0, SEED), CARD.input, CARD.output
            ),
            str(spread),
        )
        good = run("sample", work / "better" / MODEL_FILE, sets, work, vnni=vnni)
        hostile = run("hostile, d=1", spread, sets, work, vnni=vnni)
        pair = run("one pair ruined, d=2", work / "repairable" / MODEL_FILE, sets, work, vnni=vnni)
        beyond = run(
            "every layer ruined, d=2", work / "beyond-repair" / MODEL_FILE, sets, work, vnni=vnni
        )
    rows = (
        judged(
            good,
            f"drop at most {MAX_DROP_PT} pt; with VNNI at least x{MIN_SPEEDUP}",
            met=good.made.drop.points <= MAX_DROP_PT
            and good.made.accuracy_fp32 >= MIN_ACCURACY  # else every drop is small
            and (not vnni or (ratio(good) or 0) >= MIN_SPEEDUP),
        ),
        *(
            judged(
                row,
                f"repaired to within {MAX_REPAIRED_PT} pt",
                met=best_drop(row) <= MAX_REPAIRED_PT,
            )
            for row in (hostile, pair)
        ),
        judged(beyond, "refused where INT8 is demanded", met=bool(beyond.refusal)),
    )
    text = page(rows, vnni=vnni)
    PAGE.write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    return 0 if all(row.met for row in rows) else 1


def run(name: str, model: Path, sets: DataSets, work: Path, *, vnni: bool) -> Row:
    def once(rules: Quantization) -> Quantized:
        return quantize(
            model,
            sets.calibration,
            sets.validation,
            sets.validation_labels,
            rules,
            work / "quantize",
            time.monotonic,
            vnni=vnni,
        )

    started = time.monotonic()
    made = once(Quantization())
    seconds = time.monotonic() - started
    refusal = ""
    if made.outcome.precision == "fp32":
        try:
            once(Quantization(precision="int8"))
        except Refused as refused:
            refusal = str(refused)
    return Row(name, made, refusal, seconds, met=False, target="")


def judged(row: Row, target: str, *, met: bool) -> Row:
    return Row(row.name, row.made, row.refusal, row.seconds, met, target)


def ratio(row: Row) -> float | None:
    return row.made.outcome.race.ratio if row.made.outcome.race else None


def best_drop(row: Row) -> float:
    best = row.made.outcome.best
    return best.drop_pt if best else 100.0


def page(rows: tuple[Row, ...], *, vnni: bool) -> str:
    lines = [
        "# Quantization, measured",
        "",
        (
            f"`{COMMAND}` on {cpu()}, {'with' if vnni else 'without'} VNNI; one thread, batch 1, "
            f"{platform.system()}. Accuracy on {rows[0].made.drop.n} held-out images. Speed-up: "
            "median of paired, interleaved runs with a 95 % interval."
        ),
        "",
        (
            "| model | FP32 | best INT8 | speed-up | accuracy FP32 | INT8 as it comes | best INT8 "
            "| drop | answer | search | target |"
        ),
        "|---|---|---|---|---|---|---|---|---|---|---|",
        *(line(row) for row in rows),
        "",
        "## What was tried",
    ]
    for row in rows:
        outcome = row.made.outcome
        lines += ["", f"**{row.name}**: {outcome.precision}, since {outcome.reason}.", ""]
        lines += [
            f"- {entry.method}, in float: {', '.join(entry.excluded) or 'nothing'}: "
            f"accuracy {100 * entry.accuracy:.1f} %, {entry.outcome}"
            for entry in outcome.trace
        ]
        if outcome.ranking:
            ranking = (f"{'+'.join(s.nodes)} {s.guilt:.3f}" for s in outcome.ranking)
            lines += [
                "",
                f"Mean change of the probabilities, quantized alone: {', '.join(ranking)}.",
            ]
        if row.refusal:
            lines += ["", f"With `precision: int8`: {row.refusal}"]
    return "\n".join(lines) + "\n"


def line(row: Row) -> str:
    outcome = row.made.outcome
    race, best = outcome.race, outcome.best
    first = outcome.trace[0] if outcome.trace else None
    cells = (
        row.name,
        f"{race.a_ms:.2f} ms" if race else "",
        f"{race.b_ms:.2f} ms" if race else "not timed",
        str(race) if race else "",
        f"{100 * row.made.accuracy_fp32:.1f} %",
        f"{100 * first.accuracy:.1f} %" if first else "",
        f"{100 * best.accuracy:.1f} %" if best else "",
        str(outcome.drop) if outcome.drop else "",
        outcome.precision,
        f"{row.seconds:.1f} s",
        f"{row.target}: {'met' if row.met else 'missed'}",
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
