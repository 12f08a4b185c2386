"""Multiply-accumulates and weights of whole models."""

from collections.abc import Mapping

import keras

from lrpet_tf import adapters as table
from lrpet_tf.adapters import Adapter
from lrpet_tf.costs.cost import layer_cost
from lrpet_tf.errors import LowRankError
from lrpet_tf.graph import read_graph


def count_macs(model: keras.Model, *, adapters: Mapping[type, Adapter] | None = None) -> int:
    """Counts the multiply-accumulates of one forward pass of one sample.

    Counted are the kernels of convolutions of every kind, Dense, EinsumDense, and LSTM, GRU and SimpleRNN layers, and the
    projections of attention layers, each as often as it is called; a subclass as the layer that it derives from. A bias, a
    batch norm, an activation, a pooling, looking up an embedding, the products inside an attention, and layers of other types
    count nothing.

    Args:
        model: A built model; models and layers nested in it are counted too.
        adapters: Adapters of layers of your own, by class, which are then counted as well: see docs/adapters.md.

    Returns:
        Multiply-accumulates: half the number of floating-point operations.

    Raises:
        UnsupportedModelError: The model is not built, or its code cannot be run on symbols.
        LowRankError: An image size is unknown, so there is no number to give; or `adapters` is no table of adapters.
    """
    extra = table.check_adapters(adapters)
    total = 0
    for call in read_graph(model, extra).calls:
        adapter = table.find_counted(call.layer, extra)
        if adapter is None:
            continue
        macs = layer_cost(call.layer, adapter, (call,)).macs
        if macs is None:
            raise LowRankError(
                f"The multiply-accumulates of layer '{call.path}' depend on an unknown size. Received: input shape "
                f"{call.input_shape}. Build the model on a keras.Input of fixed height and width to count them."
            )
        total += macs
    return total


def count_params(model: keras.Model, *, adapters: Mapping[type, Adapter] | None = None) -> int:
    """Counts the weights of the layers that `count_macs` counts and of embeddings, biases included, each layer once.

    Args:
        model: A built model; models and layers nested in it are counted too.
        adapters: Adapters of layers of your own, by class, which are then counted as well: see docs/adapters.md.

    Returns:
        The number of weights. `model.count_params()` counts those of batch norms and other layers as well.

    Raises:
        UnsupportedModelError: The model is not built, or its code cannot be run on symbols.
        LowRankError: `adapters` is no table of adapters.
    """
    extra = table.check_adapters(adapters)
    layers = read_graph(model, extra).layers().values()
    found = ((layer, table.find_counted(layer, extra)) for layer in layers)
    return sum(layer_cost(layer, adapter, ()).params for layer, adapter in found if adapter is not None)
