"""Bringing a package up: verify, load, self-check, warm up, and the shadow package beside it.

Runs in a thread while the private door answers, and is imported there: onnxruntime and numpy are
half of a server's start. Only `take_over` belongs to the event loop: from then on it serves.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgefleet.edge import slots
from edgefleet.edge.contract import Digest, SelfCheck, ServerSettings
from edgefleet.edge.errors import PackageError
from edgefleet.edge.node import Node, Serving
from edgefleet.edge.processors import threads
from edgefleet.edge.shadow import Shadow
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
    self_check: SelfCheck
    quick: bool


def load(settings: ServerSettings, package: Path, digest: Digest) -> Loaded:
    """Return a package, loaded, checked and warmed up.

    Raises:
        PackageError: the package's signature does not hold, or it does not load.
    """
    trust = Path(settings.trust_dir)
    return checked(slots.load(package, trust, digest, threads(settings.threads)))


def checked(slot: Slot) -> Loaded:
    """Return a slot after it has answered its golden set and some single inferences."""
    check = slot.check()
    return Loaded(slot, check, slot.warm_up() <= QUICK_S)


def shadow_slot(settings: ServerSettings, serving: Slot) -> Slot | None:
    """Return the settings' shadow package, warmed up; None: there is none, or it does not fit.

    One that does not load is left out and logged: the node serves all the same.
    """
    if settings.shadow_dir is None or settings.shadow_digest is None:
        return None
    slot = reference(settings, Path(settings.shadow_dir), settings.shadow_digest)
    if slot is not None and not slot.answers_like(serving):
        logger.warning("no shadow: %s takes other inputs than the model", settings.shadow_dir)
        return None
    return slot


def reference(settings: ServerSettings, package: Path, digest: Digest) -> Slot | None:
    """Return a package that is to stand beside the serving one; None: it does not load."""
    try:
        slot = slots.load(package, Path(settings.trust_dir), digest, threads(settings.threads))
    except PackageError as error:
        logger.warning("no shadow: %s", error)
        return None
    slot.warm_up()
    return slot


def take_over(node: Node, loaded: Loaded, previous: Slot | None) -> None:
    """Answer with what was loaded from now on, and count its answers as a term of their own."""
    slot, settings = loaded.slot, node.settings
    fits = previous is not None and previous.answers_like(slot)
    order_file = Path(settings.shadow_order_file) if settings.shadow_order_file else None
    shadow = Shadow(slot, previous if fits else None, order_file)
    now = time.time()
    term = node.books.begin(slot.digest, now)
    node.books.check(slot.digest, loaded.self_check, now)
    node.serving = Serving(slot, previous, shadow, loaded.quick, loaded.self_check, term)
