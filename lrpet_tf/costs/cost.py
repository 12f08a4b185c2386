"""Multiply-accumulates and weights of layers and of chains."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import keras

from lrpet_tf.adapters import KernelAdapter
from lrpet_tf.adapters.base import Adapter, Shape, product
from lrpet_tf.graph import Call
from lrpet_tf.linalg import FactorShape


class Cost(NamedTuple):
    """Multiply-accumulates for one sample, over all calls (`None` where a size is unknown), and weights."""

    macs: int | None
    params: int


def _total(values: Sequence[int | None]) -> int | None:
    return None if None in values else sum(values)


def layer_cost(layer: keras.layers.Layer, adapter: Adapter, calls: Sequence[Call]) -> Cost:
    """Returns the cost of a layer as it is.

    Args:
        layer: A built layer.
        adapter: Its adapter.
        calls: Every call of the layer.

    Returns:
        The multiply-accumulates of all calls for one sample, and the number of weights.
    """
    macs = [adapter.macs(layer, call.input_shape, call.output_shape) for call in calls]
    return Cost(_total(macs), adapter.params(layer))


def _chain_macs(shapes: Sequence[FactorShape], inputs: Shape, outputs: Shape) -> int | None:
    sizes = list(inputs)
    total = 0
    for factor in shapes:
        for axis in factor.spatial_axes:
            sizes[axis] = outputs[axis]
        positions = product(tuple(sizes))
        if positions is None:
            return None
        total += positions * math.prod(factor.shape)
    return total


def chain_cost(layer: keras.layers.Layer, adapter: KernelAdapter, calls: Sequence[Call], shapes: Sequence[FactorShape]) -> Cost:
    """Returns the cost of a layer once its kernel is a chain.

    Args:
        layer: A built layer.
        adapter: Its adapter.
        calls: Every call of the layer.
        shapes: The factors of the chain.

    Returns:
        The multiply-accumulates of all calls for one sample, and the number of weights.
    """
    macs = [
        _chain_macs(shapes, adapter.spatial_sizes(layer, call.input_shape), adapter.spatial_sizes(layer, call.output_shape))
        for call in calls
    ]
    kernels = sum(math.prod(factor.shape) for factor in shapes)
    return Cost(_total(macs), adapter.params(layer) - math.prod(adapter.kernel(layer).shape) + kernels)
