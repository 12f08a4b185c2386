"""Multiply-accumulates and weights of whole models."""

import keras

from lrpet_tf import adapters
from lrpet_tf.costs.cost import layer_cost
from lrpet_tf.errors import LowRankError
from lrpet_tf.graph import read_graph


def count_macs(model: keras.Model) -> int:
    """Counts the multiply-accumulates of one forward pass of one sample.

    Convolutions and Dense layers only, as in the literature, each as often as it is called. A bias, a batch norm, an
    activation, a pooling and the products inside an attention count nothing.

    Args:
        model: A built Functional or Sequential model; models nested in it are counted too.

    Returns:
        Multiply-accumulates: half the number of floating-point operations.

    Raises:
        UnsupportedModelError: The model is of another kind, or not built.
        LowRankError: An image size is unknown, so there is no number to give.
    """
    graph = read_graph(model)
    total = 0
    for call in graph.calls:
        adapter = adapters.find_counted(call.layer)
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


def count_params(model: keras.Model) -> int:
    """Counts the weights of convolutions and Dense layers, biases included; a layer that is called twice counts once.

    Args:
        model: A built Functional or Sequential model; models nested in it are counted too.

    Returns:
        The number of weights. `model.count_params()` counts those of batch norms and other layers as well.

    Raises:
        UnsupportedModelError: The model is of another kind, or not built.
    """
    layers = read_graph(model).layers().values()
    found = ((layer, adapters.find_counted(layer)) for layer in layers)
    return sum(layer_cost(layer, adapter, ()).params for layer, adapter in found if adapter is not None)
