"""The champions beside a candidate, on its validation set: the best in accuracy, today's in time.

Every model that was released is scored, not today's alone: a loss within the limit could otherwise
be had again at each release, and after a way back the worse model would be the measure. `MOST`
bounds the work; a loss may add up only over so many different models. Time is told and decides
nothing, so it is today's that is timed: the one that the candidate would replace.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from edgefleet.edge.contract import CARD_FILE, MODEL_FILE, Card
from edgefleet.errors import Refused
from edgefleet.model.evaluate import (
    Drop,
    Flags,
    Race,
    Samples,
    open_session,
    paired_drop,
    percent,
    predict,
    race,
)
from edgefleet.model.submission import DataSets

MOST: Final = 10
"""Released models that a candidate is compared with, the newest ones."""
_LEFT_OUT: Final = "It is left out"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What ships against the best champion, on the candidate's validation set."""

    champion: str
    """Model and version."""
    accuracy: float
    """The champion's."""
    drop: Drop
    left_out: tuple[str, ...] = ()
    """Earlier champions that could not be compared, each with the reason."""


@dataclass(frozen=True, slots=True)
class Timed:
    """What ships beside the champion of its day, one image at a time on one thread."""

    champion: str
    """Model and version."""
    race: Race | None
    """A is the champion, B what ships; None: the two could not be timed here."""
    problem: str = ""
    """Why they could not, in words; empty: they were."""


@dataclass(frozen=True, slots=True)
class _Scored:
    name: str
    right: Flags

    @property
    def accuracy(self) -> float:
        return float(self.right.mean())


def compare(
    card: Card, champions: Sequence[Path], sets: DataSets, now_right: Flags, limit_pt: float
) -> Comparison | None:
    """Compare with the best of `champions`, package folders from today's champion back.

    None: there are none. Of two that are as good the newer one is named.

    Raises:
        Refused: worse than the best by more than `limit_pt`, or today's champion takes other input.
            An earlier one that cannot be compared is left out with a word.
    """
    if not champions:
        return None
    scored, left_out = [_todays(card, champions[0], sets)], []
    for package in champions[1:]:
        try:
            scored.append(_earlier(card, package, sets))
        except Refused as error:
            left_out.append(f"{error.subject}: {error.problem}")
    best = max(scored, key=lambda one: one.accuracy)
    drop = paired_drop(best.right, now_right)
    if drop.points > limit_pt:
        problem = (
            f"version {card.version} has accuracy {percent(float(now_right.mean()))} against "
            f"{percent(best.accuracy)} of the best champion {best.name} on the same samples: "
            f"worse by {drop}, limit {limit_pt:g} pt"
        )
        raise Refused(
            card.model, problem, "Train it better, or raise validation.max_loss_to_best_pt"
        )
    return Comparison(best.name, best.accuracy, drop, tuple(left_out))


def timed(champions: Sequence[Path], ships: Path, inputs: Samples) -> Timed | None:
    """Time the model file that ships against today's champion, the first of the package folders.

    None: there is none. Both take `inputs`, the candidate's validation samples, as `compare` has
    made sure. One that cannot be timed is told, and stops nothing.
    """
    if not champions:
        return None
    name = _name(_card(champions[0]))
    try:
        theirs, ours = open_session(champions[0] / MODEL_FILE), open_session(ships)
        return Timed(name, race(theirs, ours, inputs))
    except Exception as error:  # noqa: BLE001 - the runtime's errors share no other base class
        return Timed(name, None, str(error))


def _todays(card: Card, package: Path, sets: DataSets) -> _Scored:
    theirs = _card(package)
    if differs := _other_input(card, theirs):
        problem = (
            f"{differs}: they cannot be compared, and today's clients would send the wrong one"
        )
        raise Refused(card.model, problem, "Release it as a workload of its own")
    return _score(card, theirs, predict(open_session(package / MODEL_FILE), sets.validation), sets)


def _earlier(card: Card, package: Path, sets: DataSets) -> _Scored:
    theirs = _card(package)
    differs = _other_input(card, theirs)
    if not differs and not set(card.labels) & set(theirs.labels):
        differs = f"none of its labels {theirs.labels} is one of {card.labels}"
    if differs:
        raise Refused(_name(theirs), differs, _LEFT_OUT)
    try:
        answers = predict(open_session(package / MODEL_FILE), sets.validation)
    except Exception as error:  # the runtime's errors share no other base class
        raise Refused(_name(theirs), f"does not run here: {error}", _LEFT_OUT) from error
    return _score(card, theirs, answers, sets)


def _score(card: Card, theirs: Card, answers: Samples, sets: DataSets) -> _Scored:
    """Score by the classes' names: a new model may order or add classes."""
    said = np.array(theirs.labels)[answers.argmax(axis=1)]
    right: Flags = said == np.array(card.labels)[sets.validation_labels]
    return _Scored(_name(theirs), right)


def _other_input(card: Card, theirs: Card) -> str:
    """Return how the two models' inputs differ, empty if they do not."""
    ours, other = card.input, theirs.input
    if (ours.shape, ours.dtype) == (other.shape, other.dtype):
        return ""
    return (
        f"version {card.version} takes {ours.dtype} of shape {ours.shape}, the champion "
        f"{_name(theirs)} takes {other.dtype} of shape {other.shape}"
    )


def _name(card: Card) -> str:
    return f"{card.model} {card.version}"


def _card(package: Path) -> Card:
    file = package / CARD_FILE
    try:
        return msgspec.json.decode(file.read_bytes(), type=Card)
    except (OSError, msgspec.DecodeError) as error:
        raise Refused(str(file), f"is no card: {error}", "Correct it") from error
