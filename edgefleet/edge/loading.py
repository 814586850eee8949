"""Bringing a package up: verify, load, self-check, warm up, and the shadow package beside it.

Runs in a thread while the private door answers, and is imported there: onnxruntime and numpy are
half of a server's start.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgefleet.edge import slots
from edgefleet.edge.contract import SelfCheck, ServerSettings
from edgefleet.edge.errors import PackageError
from edgefleet.edge.processors import threads
from edgefleet.edge.slots import Slot

QUICK_S: Final = 0.005
"""Up to here an inference runs on the event loop. A hop to a thread and back costs about 0.1 ms,
which is much for a model of 0.5 to 3 ms; a slower one would keep /health and other connections
waiting, and there the hop no longer shows."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A package that may serve, if its self-check passed."""

    slot: Slot
    previous: Slot | None
    self_check: SelfCheck
    quick: bool


def load(settings: ServerSettings) -> Loaded:
    """Return the loaded package and its shadow, both warmed up.

    A shadow package that does not load is left out and logged: the node serves all the same.

    Raises:
        PackageError: the package's signature does not hold, or it does not load.
    """
    trust = Path(settings.trust_dir)
    count = threads(settings.threads)
    slot = slots.load(Path(settings.package_dir), trust, settings.digest, count)
    check = slot.check()
    quickest = slot.warm_up()
    return Loaded(slot, _previous(settings, slot, count), check, quickest <= QUICK_S)


def _previous(settings: ServerSettings, serving: Slot, count: int) -> Slot | None:
    if settings.shadow_dir is None or settings.shadow_digest is None:
        return None
    try:
        slot = slots.load(
            Path(settings.shadow_dir), Path(settings.trust_dir), settings.shadow_digest, count
        )
    except PackageError as error:
        logger.warning("no shadow: %s", error)
        return None
    if not slot.answers_like(serving):
        logger.warning("no shadow: %s takes other inputs than the model", settings.shadow_dir)
        return None
    slot.warm_up()
    return slot
