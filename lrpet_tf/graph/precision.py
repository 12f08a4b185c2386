"""A model in another precision."""

import keras

from lrpet_tf.graph.replay import is_graph
from lrpet_tf.graph.rewriting import rewrite

_HALF = ("float16", "bfloat16")


def in_float32(model: keras.Model) -> keras.Model:
    """Returns a model that computes in float32.

    Args:
        model: A built Functional or Sequential model.

    Returns:
        The model itself where no layer computes in half precision; else a copy with the same weights, in which those layers
        compute in float32.
    """
    if not is_graph(model) or not any(_computes_in_half(layer) for layer in model._flatten_layers()):
        return model
    return rewrite(model, lambda layer: None, copy=_float32_copy)


def _computes_in_half(layer) -> bool:
    return getattr(layer, "compute_dtype", None) in _HALF


def _float32_copy(layer: keras.layers.Layer) -> keras.layers.Layer:
    config = layer.get_config()
    return type(layer).from_config({**config, "dtype": "float32"} if _computes_in_half(layer) else config)
