"""The forward pass in JAX: plain, as it is exported, and normed, as it is trained.

While a network trains, every layer is normalised by its batch (without that, 250 steps teach
nothing here). `folded` turns the norms into plain weights at the end and `unfolded` brings them
back at the next start, so `Params` never holds any.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from edgefleet.model.export import Conv, Dense, Floats, Params

_FLOOR: Final = 1e-5
"""Added to a variance before it divides."""

Strides = tuple[int, ...]
Tree = Any
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


def outline(params: Params) -> tuple[Tree, Strides]:
    """Return what training does not change: the normalisation, and the strides."""
    normal = (params.scale, params.mean, params.deviation)
    return normal, tuple(conv.stride for conv in params.convs)


def _entrance(normal: Tree, inputs: Any, strides: Strides) -> Any:
    scale, mean, deviation = normal
    flow = (inputs.astype(jnp.float32) * scale - mean) / deviation
    return jnp.transpose(flow, (0, 2, 3, 1)) if strides else flow


def normed(
    weights: Tree, normal: Tree, inputs: Any, strides: Strides
) -> tuple[Any, list[tuple[Any, Any]]]:
    """Return logits, and the (mean, deviation) by which each layer was normalised."""
    convs, dense = weights
    norms = []
    flow = _entrance(normal, inputs, strides)
    for (kernel, gain, shift), stride in zip(convs, strides, strict=True):
        flow = _convolve(flow, kernel, stride)
        mean, deviation = _norm(flow, (0, 1, 2))
        norms.append((mean, deviation))
        flow = jax.nn.relu((flow - mean) * (gain / deviation) + shift)
    if convs:
        flow = flow.max(axis=(1, 2))
    mean, deviation = _norm(flow, (0,))
    norms.append((mean, deviation))
    return _full((flow - mean) / deviation, dense), norms


def plain(params: Params, inputs: Any) -> Any:
    """Return logits as the exported graph computes them."""
    normal, strides = outline(params)
    flow = _entrance(normal, inputs, strides)
    for conv in params.convs:
        flow = jax.nn.relu(_convolve(flow, _kernel(conv), conv.stride) + conv.bias)
    if params.convs:
        flow = flow.max(axis=(1, 2))
    return _full(flow, [(dense.weight, dense.bias) for dense in params.dense])


def _full(flow: Any, dense: Tree) -> Any:
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


# --- folding ----------------------------------------------------------------------------------


def _kernel(conv: Conv) -> Floats:
    """Return [out, in, 3, 3] as [9 * in, out], the order in which `_convolve` gathers."""
    return np.ascontiguousarray(conv.weight.transpose(2, 3, 1, 0).reshape(-1, len(conv.weight)))


def unfolded(params: Params, sample: NDArray[np.generic]) -> Tree:
    """Return weights with norms that compute what `params` computes on `sample`.

    An untrained network (all biases 0) starts with unit gains instead.
    """
    layers: tuple[Conv | Dense, ...] = (*params.convs, *params.dense)
    fresh = not any(layer.bias.any() for layer in layers)
    normal, strides = outline(params)
    flow = _entrance(normal, sample, strides)
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


def folded(weights: Tree, start: Params, sample: NDArray[np.generic]) -> Params:
    """Return plain weights that compute what the normed ones compute on `sample`."""
    convs, dense = weights
    normal, strides = outline(start)
    _, norms = _measure(weights, normal, sample, strides)
    convolved = []
    for (kernel, gain, shift), (mean, deviation), old in zip(
        convs, norms[:-1], start.convs, strict=True
    ):
        weight = np.asarray(kernel * (gain / deviation))
        weight = weight.reshape(3, 3, -1, weight.shape[1]).transpose(3, 2, 0, 1)
        bias = np.array(shift - mean * (gain / deviation))
        convolved.append(Conv(np.ascontiguousarray(weight), bias, old.stride))
    mean, deviation = norms[-1]
    weight, bias = dense[0]
    first = (weight / deviation[:, None], bias - (mean / deviation) @ weight)
    return Params(
        scale=start.scale,
        mean=start.mean,
        deviation=start.deviation,
        convs=tuple(convolved),
        dense=tuple(Dense(np.array(w), np.array(b)) for w, b in (first, *dense[1:])),
    )


# Compiled once for each shape of network and sample.
_measure = jax.jit(normed, static_argnames="strides")
