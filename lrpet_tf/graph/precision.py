"""A model in another precision."""

import keras

from lrpet_tf.adapters.copying import copy_operation, tells_config
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


def _float32_copy(operation: keras.Operation) -> keras.Operation:
    config = _in_float32(operation.get_config()) if tells_config(operation) else None
    return copy_operation(operation, config, "float32", _float32_copy)


def _in_float32(config):
    """Returns a configuration in which every dtype policy of half precision, also of layers inside, is float32."""
    if isinstance(config, dict):
        return {key: "float32" if key == "dtype" and _is_half(value) else _in_float32(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return type(config)(map(_in_float32, config))
    return config


def _is_half(policy) -> bool:
    if isinstance(policy, dict):
        policy = policy.get("config", {}).get("name")
    return isinstance(policy, str) and policy.removeprefix("mixed_") in _HALF
