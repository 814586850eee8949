"""Training by JAX on the CPU: small networks, seconds to a minute, the same result for a seed.

It exists so that the demo and the tests have real models with real differences. Anybody's own
training ends at the same place: an ONNX file and its sets in a submission folder.
"""

from __future__ import annotations

from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from edgefleet.model.export import Floats, Params
from edgefleet.model.network import (
    Strides,
    Tree,
    folded,
    image_network,
    normed,
    outline,
    plain,
    unfolded,
)
from edgefleet.model.surface import LABELS, Examples

_WARMUP: Final = 0.1
"""Share of the steps in which the learning rate grows; it then falls by a half cosine."""
_FASTER, _SLOWER, _EPSILON = 0.9, 0.999, 1e-7
_SAMPLE: Final = 512
"""Examples over which the folded norms are measured."""


def train(
    examples: Examples,
    *,
    steps: int,
    seed: int,
    start: Params | None = None,
    batch: int = 64,
    rate: float = 2e-3,
) -> Params:
    """Return `start` after `steps` steps of Adam on cross-entropy; None: a new image network.

    Images are mirrored at random. The same arguments give the same bytes on one machine.
    """
    rng = np.random.default_rng(seed)
    start = start or image_network(seed, len(LABELS))
    sample = examples.inputs[:_SAMPLE]

    normal, strides = outline(start)
    weights = unfolded(start, sample)
    zero = jax.tree.map(jnp.zeros_like, weights)
    state = (weights, zero, zero)
    for number in range(1, steps + 1):
        chosen = rng.integers(0, len(examples.inputs), batch)
        inputs = examples.inputs[chosen]
        if start.convs:
            inputs = _mirrored(rng, inputs)
        done = number / steps
        speed = rate * min(done / _WARMUP, 0.5 * (1 + np.cos(np.pi * done)) + 0.01)
        state = _step(state, normal, inputs, examples.labels[chosen], float(number), speed, strides)
    return folded(state[0], start, sample)


def predict(params: Params, inputs: NDArray[np.generic]) -> Floats:
    """Return probabilities [n, classes], as JAX computes them."""
    run = jax.jit(lambda part: jax.nn.softmax(plain(params, part)))
    parts = [run(inputs[at : at + 250]) for at in range(0, len(inputs), 250)]
    return np.concatenate([np.asarray(part) for part in parts])


def accuracy(params: Params, examples: Examples) -> float:
    """Return the share of examples whose most probable class is the true one."""
    return float((predict(params, examples.inputs).argmax(axis=1) == examples.labels).mean())


def _loss(weights: Tree, normal: Tree, inputs: Any, labels: Any, strides: Strides) -> Any:
    logits, _ = normed(weights, normal, inputs, strides)
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1).mean()


def _adam(
    state: Tree,
    normal: Tree,
    inputs: Any,
    labels: Any,
    number: Any,
    speed: Any,
    strides: Strides,
) -> Tree:
    """Return (weights, first, second moments) after step `number`, counted from 1."""
    weights, first, second = state
    slope = jax.grad(_loss)(weights, normal, inputs, labels, strides)
    first = _blend(first, slope, _FASTER)
    second = _blend(second, jax.tree.map(jnp.square, slope), _SLOWER)
    speed = speed * jnp.sqrt(1 - _SLOWER**number) / (1 - _FASTER**number)
    weights = jax.tree.map(
        lambda w, m, v: w - speed * m / (jnp.sqrt(v) + _EPSILON), weights, first, second
    )
    return weights, first, second


def _mirrored(rng: np.random.Generator, images: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return images [n, 1, h, w], each flipped up-down and left-right by a coin."""
    upset, turned = rng.random((2, len(images), 1, 1, 1)) < 1 / 2
    images = np.where(upset, images[:, :, ::-1], images)
    return np.where(turned, images[..., ::-1], images)


def _blend(kept: Tree, fresh: Tree, share: float) -> Tree:
    return jax.tree.map(lambda old, new: share * old + (1 - share) * new, kept, fresh)


# Compiled once for each shape of network and batch, not once for each training.
_step = jax.jit(_adam, static_argnames="strides")
