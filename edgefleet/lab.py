"""What a submission must reach in the lab before anything ships: two parts of a spec."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from edgefleet.written import Part, Share


class Quantization(Part):
    """How hard to look for an INT8 model, and what it may cost."""

    precision: Literal["auto", "int8", "fp32"] = "auto"
    """`auto` ships FP32 where INT8 loses too much or gains too little; `int8` refuses instead."""
    max_drop_pt: Annotated[float, Field(gt=0, le=20)] = 0.5
    """Largest loss of validation accuracy against FP32, in points, of the point estimate; its upper
    confidence bound may reach twice that."""
    min_speedup: Annotated[float, Field(gt=0)] = 1.1
    """Below this FP32 is shipped: a change without a gain is a risk without a reason. Less than 1
    where INT8 is wanted for its size, and may cost time on processors without VNNI."""
    max_evaluations: Annotated[int, Field(ge=1)] = 40
    """Models that the search may make and measure."""
    max_s: Annotated[float, Field(gt=0)] = 300
    """Seconds after which it begins no further one."""


class Validation(Part):
    """What a model must reach in the lab before anything ships."""

    min_accuracy: Share = 0.5
    """Least share of right answers on the submission's own validation set, of the FP32 model and of
    what ships."""
    max_loss_to_best_pt: Annotated[float, Field(ge=0)] = 2.0
    """Largest loss against the best champion ever, on the candidate's frozen validation set: of the
    newest ten models that were released and are kept."""
