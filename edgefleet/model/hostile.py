"""Models that FP32 does not mind and INT8 cannot bear: made on purpose, for tests and the demo.

A convolution's output channels are scaled by 10^U(-d, d) and the next layer's inputs by the
inverse, through the ReLU between them. The function stays the same in float; one activation tensor
then spans many orders of magnitude, and eight bits with one scale cannot hold it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgefleet.errors import Refused
from edgefleet.model.export import Params


def ruin(params: Params, layers: tuple[int, ...], strength: float, seed: int) -> Params:
    """Return the same function with the outputs of `layers` (convolutions, from 0) spread out.

    Raises:
        Refused: there is no such convolution.
    """
    rng = np.random.default_rng(seed)
    convs = list(params.convs)
    dense = list(params.dense)
    for layer in layers:
        if not 0 <= layer < len(convs):
            raise Refused(
                f"layer {layer}",
                f"the network has {len(convs)} convolutions, numbered from 0",
                "Name one of them",
            )
        conv = convs[layer]
        scale = (10.0 ** rng.uniform(-strength, strength, len(conv.weight))).astype(np.float32)
        convs[layer] = replace(
            conv, weight=conv.weight * scale[:, None, None, None], bias=conv.bias * scale
        )
        if layer + 1 < len(convs):
            after = convs[layer + 1]
            convs[layer + 1] = replace(after, weight=after.weight / scale[None, :, None, None])
        else:
            dense[0] = replace(dense[0], weight=dense[0].weight / scale[:, None])
    return replace(params, convs=tuple(convs), dense=tuple(dense))


def repairable(params: Params, seed: int) -> Params:
    """Return the same function with a small pair of layers ruined; most of the work can stay INT8.

    The first two convolutions, a sixth of the sample network's work, are best left in float.
    """
    return ruin(params, (0,), 2.0, seed)


def beyond_repair(params: Params, seed: int) -> Params:
    """Return the same function with every layer ruined: no part of it can be quantized."""
    return ruin(params, tuple(range(len(params.convs))), 2.0, seed)
