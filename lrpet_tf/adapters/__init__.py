"""The only place that names Keras layer types: one file a family, one row a type.

A subclass of a layer is another type: it may compute something else, so it is left alone unless it has a row of its own.
"""

import math
from collections.abc import Mapping, Sequence

import keras
import numpy as np
from keras import layers, ops

from lrpet_tf.adapters import batch_norm
from lrpet_tf.adapters.attention import GroupedQueryAttentionAdapter, MultiHeadAttentionAdapter
from lrpet_tf.adapters.base import Adapter, KernelAdapter, StockLayer
from lrpet_tf.adapters.composite import CompositeAdapter, WrapperAdapter
from lrpet_tf.adapters.conv import ConvAdapter
from lrpet_tf.adapters.conv_transpose import ConvTransposeAdapter
from lrpet_tf.adapters.dense import DenseAdapter
from lrpet_tf.adapters.depthwise import DepthwiseAdapter
from lrpet_tf.adapters.einsum_dense import EinsumDenseAdapter
from lrpet_tf.adapters.embedding import EmbeddingAdapter
from lrpet_tf.adapters.own import LowRankConv2DAdapter, LowRankDenseAdapter, LRPETConv2DAdapter, LRPETDenseAdapter
from lrpet_tf.adapters.recurrent import BidirectionalAdapter, RecurrentAdapter
from lrpet_tf.adapters.separable import SeparableConvAdapter
from lrpet_tf.errors import LowRankError, NonFiniteKernelError
from lrpet_tf.layers import LowRankConv2D, LowRankDense, LRPETConv2D, LRPETDense
from lrpet_tf.layers.stock import factor_names

ADAPTERS: dict[type, Adapter] = {
    layers.Conv1D: ConvAdapter(),
    layers.Conv2D: ConvAdapter(),
    layers.Conv3D: ConvAdapter(),
    layers.Conv1DTranspose: ConvTransposeAdapter(),
    layers.Conv2DTranspose: ConvTransposeAdapter(),
    layers.Conv3DTranspose: ConvTransposeAdapter(),
    layers.SeparableConv1D: SeparableConvAdapter(),
    layers.SeparableConv2D: SeparableConvAdapter(),
    layers.DepthwiseConv1D: DepthwiseAdapter(),
    layers.DepthwiseConv2D: DepthwiseAdapter(),
    layers.Dense: DenseAdapter(),
    layers.EinsumDense: EinsumDenseAdapter(),
    layers.Embedding: EmbeddingAdapter(),
    layers.LSTM: RecurrentAdapter(),
    layers.GRU: RecurrentAdapter(),
    layers.SimpleRNN: RecurrentAdapter(),
    layers.Bidirectional: BidirectionalAdapter(),
    LRPETConv2D: LRPETConv2DAdapter(),
    LRPETDense: LRPETDenseAdapter(),
    LowRankConv2D: LowRankConv2DAdapter(),
    LowRankDense: LowRankDenseAdapter(),
}
COMPOSITES: dict[type, CompositeAdapter] = {
    layers.MultiHeadAttention: MultiHeadAttentionAdapter(),
    layers.GroupQueryAttention: GroupedQueryAttentionAdapter(),
}
WRAPPERS: dict[type, WrapperAdapter] = {layers.TimeDistributed: WrapperAdapter()}


def check_adapters(adapters: Mapping[type, Adapter] | None) -> dict[type, Adapter]:
    """Returns a user's adapters as a table.

    Raises:
        LowRankError: They are not a table of layer types and adapters.
    """
    table = {} if adapters is None else adapters
    if not isinstance(table, Mapping):
        raise LowRankError(
            "`adapters` must be a dict of layer classes to adapters, such as {MyLayer: MyAdapter()} (docs/adapters.md). "
            f"Received: adapters={adapters!r}"
        )
    for kind, adapter in table.items():
        if not (isinstance(kind, type) and issubclass(kind, keras.layers.Layer) and isinstance(adapter, Adapter)):
            raise LowRankError(
                "`adapters` must map layer classes to instances of lrpet_tf.adapters.KernelAdapter (docs/adapters.md). "
                f"Received: {kind!r}: {adapter!r}"
            )
    return dict(table)


def find_counted(layer: keras.layers.Layer, extra: Mapping[type, Adapter] = {}) -> Adapter | None:
    """Returns the adapter that counts a layer: that of its type, or of the nearest type that it derives from, or `None`."""
    table = {**ADAPTERS, **extra}
    return next((table[kind] for kind in type(layer).__mro__ if kind in table), None)


def find(layer: keras.layers.Layer, extra: Mapping[type, Adapter] = {}) -> Adapter | None:
    """Returns the adapter of a layer's exact type, or `None`.

    Args:
        layer: A layer or operation of a model.
        extra: A user's adapters, which come before the library's.
    """
    return extra.get(type(layer)) or ADAPTERS.get(type(layer))


def find_composite(layer) -> CompositeAdapter | None:
    """Returns the adapter of a layer that is rebuilt with other layers around it, or `None`."""
    return COMPOSITES.get(type(layer))


def linked(layer) -> tuple[keras.layers.Layer, ...]:
    """Returns the layers inside a layer whose ranks must be equal."""
    composite = find_composite(layer)
    return () if composite is None else composite.linked(layer)


def ties(
    found: Mapping[str, keras.layers.Layer], extra: Mapping[type, Adapter] = {}, *, by_layers: bool = True
) -> dict[str, tuple[str, ...]]:
    """Returns the layers that hold a weight of another layer: by path, the paths of the others.

    Args:
        found: The layers of a model by path.
        extra: A user's adapters.
        by_layers: Whether a layer that another one holds, beside its own place in the model, ties the two.
    """
    holders: dict[int, dict[str, None]] = {}  # paths in the order of the graph
    known = {id(layer): path for path, layer in found.items()}
    for path, layer in found.items():
        # A layer inside that is called elsewhere: its weights are read here all the same.
        inside = layer._flatten_layers(include_self=False) if by_layers and isinstance(layer, keras.layers.Layer) else ()
        elsewhere = [part for part in inside if not known.get(id(part), f"{path}/").startswith(f"{path}/")]
        for weight in (*own_weights(layer, extra), *(weight for part in elsewhere for weight in part.weights)):
            holders.setdefault(id(weight), {})[path] = None
    tied: dict[str, set[str]] = {}
    for paths in holders.values():
        for path in paths:
            if len(paths) > 1:
                tied.setdefault(path, set()).update(paths.keys() - {path})
    return {path: tuple(sorted(others)) for path, others in tied.items()}


def own_weights(layer: keras.layers.Layer, extra: Mapping[type, Adapter] = {}) -> list[keras.Variable]:
    """Returns the weights of a layer itself, without those of layers inside it that a graph lists on their own."""
    if find(layer, extra) is not None:
        return list(layer.weights)
    inside = {id(weight) for part in getattr(layer, "_layers", ()) for weight in part.weights}
    return [weight for weight in getattr(layer, "weights", ()) if id(weight) not in inside]


def find_wrapper(layer) -> WrapperAdapter | None:
    """Returns the adapter of a layer that applies one layer several times, or `None`."""
    return WRAPPERS.get(type(layer))


def why_unsupported(layer: keras.layers.Layer, extra: Mapping[type, Adapter] = {}) -> str | None:
    """Returns why a layer cannot be factorized, or `None` where it can.

    Args:
        layer: A layer or operation of a model.
        extra: A user's adapters.

    Returns:
        The reason, for layers that hold a matrix of weights; `None` for those that can be factorized.
    """
    adapter = find(layer, extra)
    if adapter is None:
        return f"no adapter for layers of type {type(layer).__name__}: pass one in `adapters` (docs/adapters.md)"
    return adapter.why_unsupported(layer)


def why_not_inside(layer: keras.layers.Layer, within: Sequence[keras.layers.Layer], adapter: KernelAdapter) -> str | None:
    """Returns why a layer cannot be replaced where it stands, or `None` where it can.

    Args:
        layer: A layer.
        within: The layers, not models, that it stands in, the outermost first.
        adapter: Its adapter.
    """
    if not within:
        return None
    if len(within) == 1 and find_composite(within[0]) is not None:
        return find_composite(within[0]).why_part_unsupported(within[0], layer)
    for holder in within:
        if not type(holder).__module__.startswith("keras."):
            break  # within a layer of the user's own all can be replaced
        if find_wrapper(holder) is None:
            return f"inside a {type(holder).__name__}, which makes its layers itself"
    return adapter.why_not_inside(layer)


def read_kernel(
    path: str, layer: keras.layers.Layer, batch_norm_layer=None, extra: Mapping[type, Adapter] = {}
) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns the kernel of a layer, and the scale that a batch norm gives its output channels, as arrays in float64.

    Args:
        path: Path of the layer, for the message.
        layer: A layer that can be factorized.
        batch_norm_layer: The batch norm that follows it, or `None`.
        extra: A user's adapters.

    Returns:
        The kernel `(*spatial sizes, in, out)`, and `(out,)` or `None`.

    Raises:
        NonFiniteKernelError: One of them holds NaN or infinity.
    """
    read = {"kernel": find(layer, extra).read(layer)}
    if batch_norm_layer is not None:
        read["batch-norm scale"] = batch_norm.gain(batch_norm_layer)
    for what, tensor in read.items():
        read[what] = ops.convert_to_numpy(tensor).astype(np.float64)
        if not np.all(np.isfinite(read[what])):
            raise NonFiniteKernelError(path, what)
    return read["kernel"], read.get("batch-norm scale")


def holds_matrix(layer: keras.layers.Layer) -> bool:
    """Returns whether a layer itself, not a layer inside it, holds weights that a user might expect to be factorized."""
    return any(len(weight.shape) >= 2 and math.prod(weight.shape) > 1 for weight in own_weights(layer))


__all__ = [
    "ADAPTERS",
    "COMPOSITES",
    "WRAPPERS",
    "Adapter",
    "CompositeAdapter",
    "ConvAdapter",
    "DenseAdapter",
    "KernelAdapter",
    "StockLayer",
    "check_adapters",
    "factor_names",
    "find",
    "find_composite",
    "find_counted",
    "find_wrapper",
    "holds_matrix",
    "linked",
    "own_weights",
    "read_kernel",
    "ties",
    "why_not_inside",
    "why_unsupported",
]
