"""Synthetic camera images of metal surfaces: there is no free set of real defects to ship.

A `Scene` is how a place looks: its light, its texture, its camera. The lab is well lit and narrow;
factories are spread much wider, so a model can be good in the lab and bad in the field. Everything
is drawn from a named seed; the same seed gives the same bytes. The images claim no likeness to a
real line: they make the rest of the product honest to exercise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from edgefleet.errors import Refused

LABELS: Final = ("ok", "scratch", "dent", "crack", "pit", "stain")
SIDE: Final = 64

Floats = NDArray[np.float32]

_ROWS, _COLUMNS = np.meshgrid(
    np.arange(SIDE, dtype=np.float32), np.arange(SIDE, dtype=np.float32), indexing="ij"
)


@dataclass(frozen=True, slots=True)
class Scene:
    """How parts look at one place."""

    light: float
    """Grey level of a flawless surface, 0..1."""
    gradient: float
    """How much brighter one side is than the other, relative to `light`."""
    angle: float
    """Where the light comes from, radians."""
    texture: Literal["brushed", "cast"]
    contrast: float
    """Standard deviation of the texture, relative to `light`."""
    scale: int
    """Length of a brush mark, or size of a grain, in pixels."""
    noise: float
    """Standard deviation of the sensor's noise, of full scale."""
    blur: float
    """Standard deviation of the lens's blur, pixels."""
    jitter: float
    """How much the light differs from part to part, relative."""


@dataclass(frozen=True, slots=True)
class Examples:
    """Inputs and what they truly are."""

    inputs: NDArray[np.generic]
    """Shape [n, ...]; images are uint8 [n, 1, 64, 64]."""
    labels: NDArray[np.int64]
    """Shape [n]: indices of the classes."""


_LAB: Final[tuple[tuple[float, float, Literal["brushed", "cast"], int], ...]] = (
    (0.62, 0.4, "brushed", 9),
    (0.58, 2.0, "brushed", 13),
    (0.60, 1.2, "cast", 3),
)
"""Light, its angle, texture and its scale."""


def lab_scenes() -> tuple[Scene, ...]:
    """Return the well-lit conditions in which validation sets are taken."""
    return tuple(
        Scene(
            light=light,
            gradient=0.08,
            angle=angle,
            texture=texture,
            contrast=0.05,
            scale=scale,
            noise=0.012,
            blur=0.4,
            jitter=0.05,
        )
        for light, angle, texture, scale in _LAB
    )


def factory_scene(factory: str) -> Scene:
    """Return the look of a factory: the same for the same name, anywhere and always."""
    seed = int.from_bytes(hashlib.sha256(factory.encode()).digest()[:8], "big")
    rng = np.random.default_rng(seed)
    brushed = bool(rng.integers(0, 2))
    return Scene(
        light=float(rng.uniform(0.34, 0.76)),
        gradient=float(rng.uniform(0.1, 0.6)),
        angle=float(rng.uniform(0, 2 * np.pi)),
        texture="brushed" if brushed else "cast",
        contrast=float(rng.uniform(0.03, 0.09)),
        scale=int(rng.integers(7, 21) if brushed else rng.integers(2, 7)),
        noise=float(rng.uniform(0.008, 0.022)),
        blur=float(rng.uniform(0.3, 0.9)),
        jitter=float(rng.uniform(0.05, 0.2)),
    )


def draw(count: int, seed: int, scenes: Sequence[Scene]) -> Examples:
    """Return `count` images, every class and scene equally likely.

    Raises:
        Refused: there is no scene, or `count` is below 1.
    """
    if count < 1 or not scenes:
        raise Refused(
            "surface images",
            f"{count} images of {len(scenes)} scenes were asked for",
            "Ask for at least 1 image of at least 1 scene",
        )
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(LABELS), count)
    chosen = rng.integers(0, len(scenes), count)
    metal = np.empty((count, SIDE, SIDE), np.float32)
    for number, scene in enumerate(scenes):
        here = np.flatnonzero(chosen == number)
        metal[here] = _texture(rng, len(here), scene)
    for label, name in enumerate(LABELS):
        if name in _DEFECTS:
            here = np.flatnonzero(labels == label)
            metal[here] += _DEFECTS[name](rng, len(here))
    images = np.empty((count, 1, SIDE, SIDE), np.uint8)
    for number, scene in enumerate(scenes):
        here = np.flatnonzero(chosen == number)
        images[here, 0] = _photograph(rng, metal[here], scene)
    return Examples(inputs=images, labels=labels.astype(np.int64))


def _texture(rng: np.random.Generator, count: int, scene: Scene) -> Floats:
    """Return reflectance around 1: noise smoothed along the brush, or in both directions."""
    grain = rng.standard_normal((count, SIDE, SIDE), np.float32)
    grain = _smooth(grain, scene.scale, axis=2)
    if scene.texture == "cast":
        grain = _smooth(grain, scene.scale, axis=1)
    return np.float32(1) + grain * np.float32(scene.contrast)


def _smooth(grain: Floats, width: int, axis: int) -> Floats:
    """Return a circular moving average, scaled so that white noise keeps its deviation."""
    lead = np.take(grain, range(width), axis=axis)
    sums = np.cumsum(np.concatenate([grain, lead], axis=axis), axis=axis)
    upper = np.take(sums, range(width, SIDE + width), axis=axis)
    lower = np.take(sums, range(SIDE), axis=axis)
    return np.asarray((upper - lower) / np.float32(np.sqrt(width)), np.float32)


def _photograph(rng: np.random.Generator, metal: Floats, scene: Scene) -> NDArray[np.uint8]:
    """Return what the camera makes of it: light, blur, noise, 8 bits."""
    count = len(metal)
    across = (np.cos(scene.angle) * _COLUMNS + np.sin(scene.angle) * _ROWS) / SIDE
    slope = (np.float32(scene.gradient) * (across - across.mean())).astype(np.float32)
    level = scene.light * (1 + scene.jitter * rng.uniform(-1, 1, (count, 1, 1)))
    image = metal * (np.float32(1) + slope) * level.astype(np.float32)
    side = float(np.exp(-0.5 / scene.blur**2))
    for axis in (1, 2):
        image = (image + side * (np.roll(image, 1, axis) + np.roll(image, -1, axis))) / (
            1 + 2 * side
        )
    image += rng.standard_normal(image.shape, np.float32) * np.float32(scene.noise)
    photograph: NDArray[np.uint8] = (np.clip(image, 0, 1) * 255).astype(np.uint8)
    return photograph


# --- defects: what each adds to the reflectance, [count, 64, 64] ------------------------------


def _some(rng: np.random.Generator, count: int, low: float, high: float) -> Floats:
    return rng.uniform(low, high, (count, 1, 1)).astype(np.float32)


def _to_segment(start: tuple[Floats, Floats], end: tuple[Floats, Floats]) -> Floats:
    """Return each pixel's squared distance to the segment between two points (row, column)."""
    down, right = end[0] - start[0], end[1] - start[1]
    rows, columns = _ROWS - start[0], _COLUMNS - start[1]
    along = (rows * down + columns * right) / (down**2 + right**2 + np.float32(1e-6))
    along = np.clip(along, 0, 1)
    return np.asarray((rows - along * down) ** 2 + (columns - along * right) ** 2, np.float32)


def _scratch(rng: np.random.Generator, count: int) -> Floats:
    """A long, thin, straight line, bright as bare metal."""
    angle, length = _some(rng, count, 0, np.pi), _some(rng, count, 14, 28)
    row, column = _some(rng, count, 16, 48), _some(rng, count, 16, 48)
    down, right = np.sin(angle) * length, np.cos(angle) * length
    near = _to_segment((row - down, column - right), (row + down, column + right))
    width = _some(rng, count, 0.7, 1.3)
    line: Floats = _some(rng, count, 0.14, 0.5) * np.exp(-near / (2 * width**2))
    return line


def _dent(rng: np.random.Generator, count: int) -> Floats:
    """A soft hollow: bright on one flank, dark on the other."""
    rows = _ROWS - _some(rng, count, 16, 48)
    columns = _COLUMNS - _some(rng, count, 16, 48)
    radius, angle = _some(rng, count, 4, 8), _some(rng, count, 0, 2 * np.pi)
    flank = (np.cos(angle) * columns + np.sin(angle) * rows) / radius
    bell = np.exp(-(rows**2 + columns**2) / (2 * radius**2))
    return np.asarray(_some(rng, count, 0.2, 0.6) * flank * bell, np.float32)


def _crack(rng: np.random.Generator, count: int) -> Floats:
    """A dark, thin line that changes its direction every few pixels."""
    angle = _some(rng, count, 0, 2 * np.pi)
    row, column = _some(rng, count, 20, 44), _some(rng, count, 20, 44)
    near = np.full((count, SIDE, SIDE), np.inf, np.float32)
    for _ in range(7):
        turn, step = _some(rng, count, -1.1, 1.1), _some(rng, count, 3, 7)
        down, right = row + np.sin(angle + turn) * step, column + np.cos(angle + turn) * step
        near = np.minimum(near, _to_segment((row, column), (down, right)))
        row, column = down, right
    width = _some(rng, count, 0.6, 1.1)
    return np.asarray(-_some(rng, count, 0.22, 0.6) * np.exp(-near / (2 * width**2)), np.float32)


def _pit(rng: np.random.Generator, count: int) -> Floats:
    """A few small dark holes, each with a bright rim."""
    total = np.zeros((count, SIDE, SIDE), np.float32)
    for number in range(5):
        there = (rng.random((count, 1, 1)) < (1.0 if number < 2 else 0.6)).astype(np.float32)  # noqa: PLR2004 -- at least two
        rows = _ROWS - _some(rng, count, 8, 56)
        columns = _COLUMNS - _some(rng, count, 8, 56)
        size = (rows**2 + columns**2) / (2 * _some(rng, count, 1.1, 2.0) ** 2)
        total += there * (np.float32(0.5) * size - np.float32(1)) * np.exp(-size)
    return total * _some(rng, count, 0.22, 0.6)


def _stain(rng: np.random.Generator, count: int) -> Floats:
    """A large, irregular, darker patch with a soft edge."""
    row, column = _some(rng, count, 18, 46), _some(rng, count, 18, 46)
    blob = np.zeros((count, SIDE, SIDE), np.float32)
    for _ in range(3):
        rows = _ROWS - row - _some(rng, count, -7, 7)
        columns = _COLUMNS - column - _some(rng, count, -7, 7)
        blob += np.exp(-(rows**2 + columns**2) / (2 * _some(rng, count, 4, 8) ** 2))
    inside = np.float32(1) / (np.float32(1) + np.exp(-8 * (blob - np.float32(0.9))))
    return np.asarray(-_some(rng, count, 0.12, 0.35) * inside, np.float32)


_DEFECTS: Final[Mapping[str, Callable[[np.random.Generator, int], Floats]]] = {
    "scratch": _scratch,
    "dent": _dent,
    "crack": _crack,
    "pit": _pit,
    "stain": _stain,
}
