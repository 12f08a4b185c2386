"""The only place that names Keras layer types: one file a family, one row a type.

A subclass of a layer is another type: it may compute something else, so it is left alone unless it has a row of its own.
"""

import math

import keras
import numpy as np
from keras import layers, ops

from lrpet_tf.adapters import batch_norm
from lrpet_tf.adapters.base import Adapter, KernelAdapter, StockLayer
from lrpet_tf.adapters.conv2d import Conv2DAdapter
from lrpet_tf.adapters.counted import CountedAdapter
from lrpet_tf.adapters.dense import DenseAdapter
from lrpet_tf.adapters.own import LowRankConv2DAdapter, LowRankDenseAdapter, LRPETConv2DAdapter, LRPETDenseAdapter
from lrpet_tf.adapters.wrappers import TimeDistributedAdapter
from lrpet_tf.errors import NonFiniteKernelError
from lrpet_tf.layers import LowRankConv2D, LowRankDense, LRPETConv2D, LRPETDense

_DEPTHWISE = "depthwise: each filter reads a single channel, so there is no rank to cut"

ADAPTERS: dict[type, Adapter] = {
    layers.Conv2D: Conv2DAdapter(),
    layers.Dense: DenseAdapter(),
    LRPETConv2D: LRPETConv2DAdapter(),
    LRPETDense: LRPETDenseAdapter(),
    LowRankConv2D: LowRankConv2DAdapter(),
    LowRankDense: LowRankDenseAdapter(),
    layers.DepthwiseConv1D: CountedAdapter(("kernel",), _DEPTHWISE),
    layers.DepthwiseConv2D: CountedAdapter(("kernel",), _DEPTHWISE),
    layers.Conv1D: CountedAdapter(("kernel",), "Conv1D is not decomposed"),
    layers.Conv3D: CountedAdapter(("kernel",), "Conv3D is not decomposed"),
    layers.Conv1DTranspose: CountedAdapter(("kernel",), "Conv1DTranspose is not decomposed", transposed=True),
    layers.Conv2DTranspose: CountedAdapter(("kernel",), "Conv2DTranspose is not decomposed", transposed=True),
    layers.Conv3DTranspose: CountedAdapter(("kernel",), "Conv3DTranspose is not decomposed", transposed=True),
    layers.SeparableConv1D: CountedAdapter(("depthwise_kernel", "pointwise_kernel"), "SeparableConv1D is not decomposed"),
    layers.SeparableConv2D: CountedAdapter(("depthwise_kernel", "pointwise_kernel"), "SeparableConv2D is not decomposed"),
    layers.TimeDistributed: TimeDistributedAdapter(lambda layer: find_counted(layer)),
}


def find_counted(layer: keras.layers.Layer) -> Adapter | None:
    """Returns the adapter that counts a layer: that of its type, or of the nearest type that it derives from, or `None`."""
    return next((ADAPTERS[kind] for kind in type(layer).__mro__ if kind in ADAPTERS), None)


def find(layer: keras.layers.Layer) -> Adapter | None:
    """Returns the adapter of a layer's exact type, or `None`."""
    return ADAPTERS.get(type(layer))


def why_unsupported(layer: keras.layers.Layer) -> str | None:
    """Returns why a layer cannot be factorized, or `None` where it can.

    Args:
        layer: A layer or operation of a model.

    Returns:
        The reason, for layers that hold a matrix of weights; `None` for those that can be factorized.
    """
    adapter = find(layer)
    return f"no adapter for layers of type {type(layer).__name__}" if adapter is None else adapter.why_unsupported(layer)


def read_kernel(path: str, layer: keras.layers.Layer, batch_norm_layer=None) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns the kernel of a layer, and the scale that a batch norm gives its output channels, as arrays in float64.

    Args:
        path: Path of the layer, for the message.
        layer: A layer that can be factorized.
        batch_norm_layer: The batch norm that follows it, or `None`.

    Returns:
        The kernel `(kh, kw, in, out)`, and `(out,)` or `None`.

    Raises:
        NonFiniteKernelError: One of them holds NaN or infinity.
    """
    adapter = find(layer)
    read = {"kernel": adapter.to_hwio(ops.convert_to_tensor(adapter.kernel(layer)))}
    if batch_norm_layer is not None:
        read["batch-norm scale"] = batch_norm.gain(batch_norm_layer)
    for what, tensor in read.items():
        read[what] = ops.convert_to_numpy(tensor).astype(np.float64)
        if not np.all(np.isfinite(read[what])):
            raise NonFiniteKernelError(path, what)
    return read["kernel"], read.get("batch-norm scale")


def holds_matrix(layer: keras.layers.Layer) -> bool:
    """Returns whether a layer holds weights that a user might expect to be factorized."""
    return any(len(weight.shape) >= 2 and math.prod(weight.shape) > 1 for weight in getattr(layer, "weights", ()))


__all__ = [
    "ADAPTERS",
    "Adapter",
    "KernelAdapter",
    "StockLayer",
    "find",
    "find_counted",
    "holds_matrix",
    "read_kernel",
    "why_unsupported",
]
