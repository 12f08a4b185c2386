"""Multiply-accumulates and weights of layers and of chains."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import keras

from lrpet_tf.adapters import KernelAdapter
from lrpet_tf.adapters.base import Adapter, product
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
    macs = [product((call.times, adapter.macs(layer, call.input_shape, call.output_shape))) for call in calls]
    return Cost(_total(macs), adapter.params(layer))


def chain_cost(
    layer: keras.layers.Layer,
    adapter: KernelAdapter,
    calls: Sequence[Call],
    shapes: Sequence[FactorShape],
    extra_params: int = 0,
) -> Cost:
    """Returns the cost of a layer once its kernel is a chain.

    Args:
        layer: A built layer.
        adapter: Its adapter.
        calls: Every call of the layer.
        shapes: The factors of the chain.
        extra_params: Weights that the chain needs beside its factors.

    Returns:
        The multiply-accumulates of all calls for one sample, and the number of weights.
    """
    macs = []
    for call in calls:
        where = layer, call.input_shape, call.output_shape
        one = _total([adapter.chain_macs(layer, shapes, *where[1:]), adapter.other_macs(*where)])
        macs.append(product((call.times, one)))
    kernels = sum(math.prod(factor.shape) for factor in shapes)
    return Cost(_total(macs), adapter.params(layer) - math.prod(adapter.hwio_shape(layer)) + kernels + extra_params)
