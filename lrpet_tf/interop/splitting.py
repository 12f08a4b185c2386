"""A model in the form in which tfmot can quantize it best."""

import contextlib
from collections.abc import Iterator

import keras

from lrpet_tf.graph import read_graph
from lrpet_tf.interop.carrying import Carrier, one_for_one
from lrpet_tf.interop.naming import unique
from lrpet_tf.interop.packages import tf_keras, tfmot
from lrpet_tf.interop.translation import from_config, translate

# Activations that tfmot quantizes as layers and not inside of one, by their names in Keras 3.
_AS_LAYERS = {
    "relu6": ("ReLU", {"max_value": 6.0}),
    "leaky_relu": ("LeakyReLU", {"negative_slope": 0.2}),
}
_LAYER_KINDS = {"ReLU", "LeakyReLU"}
_DEPTHWISE = (
    "kernel_size", "strides", "padding", "depth_multiplier", "data_format", "dilation_rate", "depthwise_regularizer",
    "depthwise_constraint", "trainable", "dtype",
)  # fmt: skip
_POINTWISE = (
    "filters", "data_format", "activation", "use_bias", "bias_regularizer", "bias_constraint", "activity_regularizer",
    "trainable", "dtype",
)  # fmt: skip


def depthwise_name(name: str) -> str:
    """Returns the name of the depthwise half of a separable convolution, whose pointwise half keeps its name."""
    return f"{name}_depthwise"


def _separable(layer: keras.layers.Layer, config: dict, name: str) -> list:
    depthwise = {key: config[key] for key in _DEPTHWISE} | {"name": depthwise_name(name), "use_bias": False}
    pointwise = {key: config[key] for key in _POINTWISE} | {"name": name, "kernel_size": 1}
    pointwise |= {f"kernel_{part}": config[f"pointwise_{part}"] for part in ("regularizer", "constraint")}
    return [from_config("DepthwiseConv2D", depthwise, None), from_config("Conv2D", pointwise, layer)]


def _activation_layer(value, name: str):
    """Returns the layer for an activation that is quantized as a layer alone, or `None`."""
    if isinstance(value, str) and value in _AS_LAYERS:
        kind, options = _AS_LAYERS[value]
        return from_config(kind, {"name": name, **options}, None)
    if isinstance(value, dict) and value.get("class_name") in _LAYER_KINDS and value.get("module") == "keras.layers":
        return from_config(value["class_name"], {**value["config"], "name": name}, None)
    return None


def split(layer: keras.layers.Layer, path: str, name: str) -> list:
    """Returns the chain of tf_keras layers that stands for a layer to be quantized.

    A separable convolution becomes two, and an activation that is quantized as a layer alone becomes one.

    Args:
        layer: A layer of Keras 3.
        path: Its path.
        name: Name of the last layer that has weights.

    Raises:
        UntranslatableError: tf_keras has no such layer, or not with these options.
    """
    kind = type(layer)
    config = layer.get_config() if kind.__module__.startswith("keras.") else {}
    is_alone = kind is keras.layers.Activation
    activation = _activation_layer(config.get("activation"), name if is_alone else f"{name}_activation")
    others = [] if activation is None else [activation]
    if activation is not None and is_alone:
        return others
    if kind is keras.layers.SeparableConv2D:
        config = config if activation is None else {**config, "activation": "linear"}
        return [*_separable(layer, config, name), *others]
    options = {} if activation is None else {"activation": "linear"}
    return [translate(layer, name=name, **options), *others]


class _Border:
    """Puts a rounding to 8 bits where a tensor goes from a layer in float to one that is quantized.

    Args:
        floating: Paths of the layers that stay in float.
        joining: Paths of layers that take all their inputs in the range of their output.

    Attributes:
        paths: By name of a layer that rounds, the path of the layer whose output it rounds.
    """

    def __init__(self, floating: set[str], joining: set[str]):
        self._floating, self._joining, self._tensors = floating, joining, {}
        self.paths: dict[str, str] = {}

    def leave(self, tensor, path: str) -> None:
        """Notes what comes from a layer in float."""
        if path in self._floating:
            self._tensors[id(tensor)] = [tensor, path, None]

    def enter(self, tensor, path: str):
        """Returns what a layer is called on instead of a tensor."""
        found = None if path in self._joining else self._tensors.get(id(tensor))
        if found is None or path in self._floating or "float" not in tensor.dtype.name:
            return tensor
        if found[2] is None:
            found[2] = self._rounded(tensor, found[1])
        return found[2]

    def _rounded(self, tensor, path: str):
        from tensorflow_model_optimization.python.core.quantization.keras.quantize_layer import QuantizeLayer

        quantizers = tfmot().quantization.keras.quantizers
        moving = quantizers.MovingAverageQuantizer(num_bits=8, per_axis=False, symmetric=False, narrow_range=False)
        name = unique(f"{path}_rounded", self.paths)
        self.paths[name] = path
        return QuantizeLayer(moving, name=name)(tensor)


@contextlib.contextmanager
def without_rounding(flat) -> Iterator[None]:
    """Lets a model from `quantizable` compute in float."""
    borders = [layer for layer in flat.layers if getattr(layer, "quantizer", None) is not None]
    quantizers = [layer.quantizer for layer in borders]
    try:
        for layer in borders:
            layer.quantizer = None
        yield
    finally:
        for layer, quantizer in zip(borders, quantizers, strict=True):
            layer.quantizer = quantizer


def quantizable(model: keras.Model, floating: set[str]) -> tuple:
    """Carries a model over to tf_keras in the form in which tfmot can quantize it best.

    Layers without weights that are called several times are several: each has a range of its own.

    Args:
        model: A model with a graph.
        floating: Paths of the layers that stay in float.

    Returns:
        The tf_keras model; the names of its layers that stay in float; and by name of any layer, the path of the Keras layer
        that it stands for.

    Raises:
        UnsupportedLayersError: There are layers that cannot be carried over.
    """
    tf_keras()
    joining = {path for path, layer in read_graph(model).layers().items() if type(layer).__name__ == "Concatenate"}
    border = _Border(floating, joining)

    def build(layer, path, name):
        return (one_for_one if path in floating else split)(layer, path, name)

    carrier = Carrier(model, build, border.enter, border.leave, lambda layer: bool(layer.weights))
    flat = carrier.run()
    paths = carrier.paths | border.paths
    return flat, {name for name, path in paths.items() if path in floating}, paths
