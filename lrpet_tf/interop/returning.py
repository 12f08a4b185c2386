"""The way back: what was trained in tf_keras goes on in Keras 3."""

import keras
import numpy as np

from lrpet_tf.errors import LowRankError
from lrpet_tf.graph import as_graph, carry_compilation, rewrite
from lrpet_tf.interop.naming import flat_names
from lrpet_tf.interop.splitting import depthwise_name

# What tfmot puts before the name of a layer that it wraps.
_PREFIXES = ("quant_", "prune_low_magnitude_", "cluster_")
# The weights of layers that tfmot wraps, in the order of the layer's own.
_ORDER = ("depthwise_kernel", "kernel", "gamma", "bias", "beta", "moving_mean", "moving_variance")


def _leaf(variable) -> str:
    return variable.name.split(":")[0].rpartition("/")[2]


def _plain_name(layer) -> str:
    inner = getattr(layer, "layer", None)
    prefix = next((each for each in _PREFIXES if layer.name.startswith(each)), None)
    return layer.name if inner is None or prefix is None else layer.name.removeprefix(prefix)


def _values(layer) -> list[np.ndarray]:
    """Returns the weights of a layer, as they are trained: without rounding, ranges, masks and centroids."""
    if _plain_name(layer) == layer.name:
        return layer.get_weights()
    variables = {_leaf(variable): variable for variable in layer.weights}
    return [variables[leaf].numpy() for leaf in _ORDER if leaf in variables]


def _trained_weights(layers: dict, name: str) -> list[np.ndarray] | None:
    if name not in layers:
        return None
    first = depthwise_name(name)
    split = type(getattr(layers[name], "layer", layers[name])).__name__ == "Conv2D" and first in layers
    return [*(_values(layers[first]) if split else ()), *_values(layers[name])]


def copy_weights(trained, model: keras.Model) -> None:
    """Gives a Keras 3 model the weights of its counterpart in tf_keras.

    Args:
        trained: What became of the model by `to_tf_keras`, `quantize_aware`, `prune_factors` or `cluster_factors`. Of one
            that was trained for quantization the weights are taken before they are rounded, of one that was pruned or
            clustered as `strip` leaves them.
        model: The Keras 3 model that it was made of, or a copy; changed in place.

    Raises:
        LowRankError: A layer is missing, or has other weights; nothing was changed then.
        UnsupportedModelError: The model is not built.
    """
    from lrpet_tf.interop.factors import strip

    source = strip(trained)
    layers = {_plain_name(layer): layer for layer in source.layers}
    found = []
    for path, (layer, name) in flat_names(as_graph(model)).items():
        if not isinstance(layer, keras.layers.Layer) or not layer.get_weights():
            continue
        values = _trained_weights(layers, name)
        given, expected = ([tuple(each.shape) for each in side or ()] for side in (values, layer.get_weights()))
        if given != expected:
            what = "no layer" if values is None else f"weights of shapes {given} in layer"
            raise LowRankError(
                f"The tf_keras model '{trained.name}' is no counterpart of '{model.name}': for layer '{path}', with weights of "
                f"shapes {expected}, it has {what} '{name}'. Give the model that it was made of."
            )
        found.append((layer, values))
    for layer, values in found:
        layer.set_weights(values)


def from_tf_keras(trained, like: keras.Model) -> keras.Model:
    """Returns a Keras 3 model with the weights of its counterpart in tf_keras.

    Args:
        trained: See `copy_weights`.
        like: The Keras 3 model that it was made of; it stays as it is.

    Returns:
        A copy of `like`, compiled as it is, with the weights that were trained.

    Raises:
        LowRankError: A layer is missing, or has other weights.
        UnsupportedModelError: The model is not built.
    """
    copy = rewrite(like)
    copy_weights(trained, copy)
    carry_compilation(like, copy)
    return copy
