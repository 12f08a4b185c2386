"""Bytes of `.tflite` files, whole and layer by layer."""

import math
from typing import NamedTuple

import keras
import numpy as np

from lrpet_tf.adapters import KernelAdapter
from lrpet_tf.costs.micro import MicroModel
from lrpet_tf.decompositions import Decomposition
from lrpet_tf.graph import as_graph, in_float32, rewrite
from lrpet_tf.litert import convert

BYTES_PER_WEIGHT = {None: 4, "float16": 2, "int8": 1}
# What a file tells about itself, in bytes, with names of the usual length: where it comes from, and the plan chain by chain.
_TOLD_BYTES, _TOLD_BYTES_PER_CHAIN = {None: 540, "float16": 540, "int8": 760}, 40
# The ranks at which the structure of a chain in a file is weighed.
_PROBES = (4, 12)


class ChainStructure(NamedTuple):
    """What a chain adds to a file beside its weights: `bytes + bytes_per_rank · rank`."""

    bytes: float
    bytes_per_rank: float


def file_bytes(model: keras.Model, quantize: str | None = None) -> int:
    """Returns the size of a model's `.tflite` file once it is trained.

    An untrained model's file may be smaller, since equal values, such as biases of zero, are stored once: the size is taken of
    a copy with random weights.

    Args:
        model: A built model.
        quantize: `None`, `"float16"` or `"int8"`.

    Returns:
        Bytes.

    Raises:
        ExportError: The backend is not TensorFlow, or the model cannot be converted.
    """
    copy = in_float32(as_graph(rewrite(model)))
    rng = np.random.default_rng(0)
    for variable in copy.variables:
        if len(variable.shape) and "float" in keras.backend.standardize_dtype(variable.dtype):
            fan_in = math.prod(variable.shape[:-1])  # outputs stay of order one, as quantizing needs
            values = rng.uniform(0.5, 1.5, variable.shape)
            variable.assign(values if fan_in == 1 else rng.choice([-1, 1], variable.shape) * values / math.sqrt(fan_in))
    return len(convert(copy, quantize=quantize).content) + _TOLD_BYTES[quantize]


def chain_structure(
    layer: keras.layers.Layer,
    adapter: KernelAdapter,
    input_shape: tuple[int | None, ...],
    form: Decomposition,
    quantize: str | None = None,
    calls: int = 1,
) -> ChainStructure:
    """Weighs what a chain in the place of a layer adds to a file beside its weights: operators, tensors, names and scales.

    Args:
        layer: A built layer that can be factorized; others of its type differ little.
        adapter: Its adapter.
        input_shape: Shape of its input, without the batch axis.
        form: The decomposition.
        quantize: `None`, `"float16"` or `"int8"`.
        calls: How often the layer is called: each time has operators of its own, on the same weights.

    Returns:
        A line through the bytes at two ranks.
    """
    shape = tuple(size or 8 for size in input_shape)
    full_rank = form.max_rank(adapter.hwio_shape(layer), adapter.groups(layer))
    ranks = [min(rank, full_rank) for rank in _PROBES]
    dense, *chains = (
        file_bytes(micro, quantize) - BYTES_PER_WEIGHT[quantize] * micro.count_params()
        for micro in (
            MicroModel("", layer, adapter, shape, form if rank else None, rank).build(calls) for rank in (None, *ranks)
        )
    )
    slope = max(0.0, (chains[1] - chains[0]) / (ranks[1] - ranks[0])) if ranks[1] > ranks[0] else 0.0
    return ChainStructure(chains[0] - dense - slope * ranks[0] + _TOLD_BYTES_PER_CHAIN, slope)
