"""The parts that pass under the cameras: images of known truth, a pool for each factory."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass

from edgefleet.model.surface import LABELS, draw, factory_scene


@dataclass(frozen=True, slots=True)
class Parts:
    """Images as a camera sends them, and what they truly are."""

    images: tuple[bytes, ...]
    labels: tuple[str, ...]

    def take(self, rng: random.Random) -> tuple[bytes, str]:
        """Return one of them."""
        number = rng.randrange(len(self.images))
        return self.images[number], self.labels[number]


def surface_parts(factory: str, count: int, seed: int) -> Parts:
    """Return `count` surfaces as they look in a factory; the same for the same seed."""
    own = int.from_bytes(hashlib.sha256(f"{seed}/{factory}".encode()).digest()[:4], "big")
    drawn = draw(count, own, [factory_scene(factory)])
    return Parts(
        tuple(image.tobytes() for image in drawn.inputs),
        tuple(LABELS[label] for label in drawn.labels),
    )
