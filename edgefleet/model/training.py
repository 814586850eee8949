"""Training by JAX on the CPU: small networks, seconds to a minute, the same result for a seed.

It exists so that the demo and the tests have real models with real differences. Anybody's own
training ends at the same place: an ONNX file and its sets in a submission folder. While it trains,
every layer is normalised by its batch (without that, 250 steps teach nothing here); the norms are
folded into the weights at the end and unfolded at the next start, so `Params` never holds any.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from edgefleet.model.export import Conv, Dense, Floats, Params
from edgefleet.model.surface import LABELS, Examples

_WARMUP: Final = 0.1
"""Share of the steps in which the learning rate grows; it then falls by a half cosine."""
_FASTER, _SLOWER, _EPSILON = 0.9, 0.999, 1e-7
_FLOOR: Final = 1e-5
"""Added to a variance before it divides."""
_SAMPLE: Final = 512
"""Examples over which the folded norms are measured."""

_Tree = Any
"""Arrays in nested lists, as JAX differentiates them: (convs, dense), each a list of tuples."""


def image_network(seed: int, classes: int) -> Params:
    """Return an untrained 32-64-128-128 convolutional network (33 million MACs at 64 x 64)."""
    rng = np.random.default_rng(seed)
    convs = []
    channels = 1
    for width, stride in ((32, 2), (64, 2), (128, 1), (128, 2)):
        weight = rng.normal(0, _spread(9 * channels), (width, channels, 3, 3))
        convs.append(Conv(weight.astype(np.float32), np.zeros(width, np.float32), stride))
        channels = width
    return Params(
        scale=1 / 255,
        mean=np.full((1, 1, 1), 0.5, np.float32),
        deviation=np.full((1, 1, 1), 0.2, np.float32),
        convs=tuple(convs),
        dense=_dense(rng, (channels, classes)),
    )


def vector_network(seed: int, inputs: Floats, widths: tuple[int, ...]) -> Params:
    """Return an untrained network of full layers that normalises as `inputs` [n, k] ask for."""
    rng = np.random.default_rng(seed)
    return Params(
        scale=1.0,
        mean=inputs.mean(axis=0),
        deviation=inputs.std(axis=0) + np.float32(1e-6),
        convs=(),
        dense=_dense(rng, (inputs.shape[1], *widths)),
    )


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

    def loss(weights: _Tree, inputs: Any, labels: Any) -> Any:
        logits, _ = _normed(weights, start, inputs)
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1).mean()

    def step(state: _Tree, inputs: Any, labels: Any, number: Any, speed: Any) -> _Tree:
        weights, first, second = state
        slope = jax.grad(loss)(weights, inputs, labels)
        first = _blend(first, slope, _FASTER)
        second = _blend(second, jax.tree.map(jnp.square, slope), _SLOWER)
        speed = speed * jnp.sqrt(1 - _SLOWER**number) / (1 - _FASTER**number)
        weights = jax.tree.map(
            lambda w, m, v: w - speed * m / (jnp.sqrt(v) + _EPSILON), weights, first, second
        )
        return weights, first, second

    stepped = jax.jit(step)
    weights = _unfolded(start, sample)
    zero = jax.tree.map(jnp.zeros_like, weights)
    state = (weights, zero, zero)
    for number in range(1, steps + 1):
        chosen = rng.integers(0, len(examples.inputs), batch)
        inputs = examples.inputs[chosen]
        if start.convs:
            inputs = _mirrored(rng, inputs)
        done = number / steps
        speed = rate * min(done / _WARMUP, 0.5 * (1 + np.cos(np.pi * done)) + 0.01)
        state = stepped(state, inputs, examples.labels[chosen], float(number), speed)
    return _folded(state[0], start, sample)


def predict(params: Params, inputs: NDArray[np.generic]) -> Floats:
    """Return probabilities [n, classes], as JAX computes them."""
    run = jax.jit(lambda part: jax.nn.softmax(_plain(params, part)))
    parts = [run(inputs[at : at + 250]) for at in range(0, len(inputs), 250)]
    return np.concatenate([np.asarray(part) for part in parts])


def accuracy(params: Params, examples: Examples) -> float:
    """Return the share of examples whose most probable class is the true one."""
    return float((predict(params, examples.inputs).argmax(axis=1) == examples.labels).mean())


def _spread(inputs: int) -> float:
    """Return the deviation of fresh weights before a ReLU (He et al. 2015)."""
    return float(np.sqrt(2 / inputs))


def _dense(rng: np.random.Generator, widths: tuple[int, ...]) -> tuple[Dense, ...]:
    return tuple(
        Dense(
            rng.normal(0, np.sqrt(1 / into), (into, out)).astype(np.float32),
            np.zeros(out, np.float32),
        )
        for into, out in pairwise(widths)
    )


def _mirrored(rng: np.random.Generator, images: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return images [n, 1, h, w], each flipped up-down and left-right by a coin."""
    upset, turned = rng.random((2, len(images), 1, 1, 1)) < 1 / 2
    images = np.where(upset, images[:, :, ::-1], images)
    return np.where(turned, images[..., ::-1], images)


# --- forward: with the batch's norms while training, plain afterwards -------------------------


def _entrance(params: Params, inputs: Any) -> Any:
    flow = (inputs.astype(jnp.float32) * params.scale - params.mean) / params.deviation
    return jnp.transpose(flow, (0, 2, 3, 1)) if params.convs else flow


def _normed(weights: _Tree, start: Params, inputs: Any) -> tuple[Any, list[tuple[Any, Any]]]:
    """Return logits, and the (mean, deviation) by which each layer was normalised."""
    convs, dense = weights
    norms = []
    flow = _entrance(start, inputs)
    for (kernel, gain, shift), old in zip(convs, start.convs, strict=True):
        flow = _convolve(flow, kernel, old.stride)
        mean, deviation = _norm(flow, (0, 1, 2))
        norms.append((mean, deviation))
        flow = jax.nn.relu((flow - mean) * (gain / deviation) + shift)
    if convs:
        flow = flow.max(axis=(1, 2))
    mean, deviation = _norm(flow, (0,))
    norms.append((mean, deviation))
    return _full((flow - mean) / deviation, dense), norms


def _plain(params: Params, inputs: Any) -> Any:
    """Return logits as the exported graph computes them."""
    flow = _entrance(params, inputs)
    for conv in params.convs:
        flow = jax.nn.relu(_convolve(flow, _kernel(conv), conv.stride) + conv.bias)
    if params.convs:
        flow = flow.max(axis=(1, 2))
    return _full(flow, [(dense.weight, dense.bias) for dense in params.dense])


def _full(flow: Any, dense: _Tree) -> Any:
    for weight, bias in dense[:-1]:
        flow = jax.nn.relu(flow @ weight + bias)
    weight, bias = dense[-1]
    return flow @ weight + bias


def _norm(flow: Any, axes: tuple[int, ...]) -> tuple[Any, Any]:
    return flow.mean(axis=axes), jnp.sqrt(flow.var(axis=axes) + _FLOOR)


def _convolve(images: Any, kernel: Any, stride: int) -> Any:
    """Convolve [n, h, w, c] by one matrix product over gathered patches.

    On the CPU this trains a quarter faster than XLA's own convolution.
    """
    count, side, _, channels = images.shape
    images = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    patches = [
        images[:, row : row + side : stride, column : column + side : stride]
        for row in range(3)
        for column in range(3)
    ]
    out = -(-side // stride)
    flat = jnp.concatenate(patches, axis=-1).reshape(count * out * out, 9 * channels)
    return (flat @ kernel).reshape(count, out, out, -1)


def _blend(kept: _Tree, fresh: _Tree, share: float) -> _Tree:
    return jax.tree.map(lambda old, new: share * old + (1 - share) * new, kept, fresh)


# --- folding ----------------------------------------------------------------------------------


def _kernel(conv: Conv) -> Floats:
    """Return [out, in, 3, 3] as [9 * in, out], the order in which `_convolve` gathers."""
    return np.ascontiguousarray(conv.weight.transpose(2, 3, 1, 0).reshape(-1, len(conv.weight)))


def _unfolded(params: Params, sample: NDArray[np.generic]) -> _Tree:
    """Return weights with norms that compute what `params` computes on `sample`.

    An untrained network (all biases 0) starts with unit gains instead.
    """
    fresh = not any(conv.bias.any() for conv in params.convs)
    flow = _entrance(params, sample)
    convs = []
    for conv in params.convs:
        kernel = _kernel(conv)
        # The norm undoes a kernel's size, so it is free: give Adam the size of a fresh one.
        kernel = kernel * (_spread(len(kernel)) / kernel.std())
        raw = _convolve(flow, kernel, conv.stride)
        mean, deviation = _norm(raw, (0, 1, 2))
        size = np.float32(_kernel(conv).std() / kernel.std())
        gain = jnp.ones_like(deviation) if fresh else deviation * size
        shift = jnp.zeros_like(mean) if fresh else mean * size + conv.bias
        convs.append((jnp.asarray(kernel), gain, shift))
        flow = jax.nn.relu((raw - mean) * (gain / deviation) + shift)
    if params.convs:
        flow = flow.max(axis=(1, 2))
    mean, deviation = _norm(flow, (0,))
    dense = [(jnp.asarray(layer.weight), jnp.asarray(layer.bias)) for layer in params.dense]
    if not fresh:
        weight, bias = dense[0]
        dense[0] = (weight * deviation[:, None], bias + mean @ weight)
    return convs, dense


def _folded(weights: _Tree, start: Params, sample: NDArray[np.generic]) -> Params:
    """Return plain weights that compute what the normed ones compute on `sample`."""
    convs, dense = weights
    _, norms = jax.jit(lambda tree, inputs: _normed(tree, start, inputs))(weights, sample)
    plain = []
    for (kernel, gain, shift), (mean, deviation), old in zip(
        convs, norms[:-1], start.convs, strict=True
    ):
        weight = np.asarray(kernel * (gain / deviation))
        weight = weight.reshape(3, 3, -1, weight.shape[1]).transpose(3, 2, 0, 1)
        bias = np.array(shift - mean * (gain / deviation))
        plain.append(Conv(np.ascontiguousarray(weight), bias, old.stride))
    mean, deviation = norms[-1]
    weight, bias = dense[0]
    first = (weight / deviation[:, None], bias - (mean / deviation) @ weight)
    return Params(
        scale=start.scale,
        mean=start.mean,
        deviation=start.deviation,
        convs=tuple(plain),
        dense=tuple(Dense(np.array(w), np.array(b)) for w, b in (first, *dense[1:])),
    )
