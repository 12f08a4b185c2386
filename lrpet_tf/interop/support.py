"""Which layers of a tf_keras model tfmot can quantize, told before anything is trained."""

from collections.abc import Collection, Mapping

from lrpet_tf.interop.scheme import Registry

# Activations inside of a layer, and of an Activation layer, that tfmot knows how to quantize, by their names.
_INSIDE = {"linear", "relu", "swish", "silu", "gelu", "softmax", "sigmoid", "tanh"}
_ALONE = _INSIDE | {"relu6"}
# What a batch norm is folded into.
_FOLDING = {"Conv2D", "DepthwiseConv2D", "Dense"}


def _name(activation) -> str:
    return getattr(activation, "__name__", type(activation).__name__)


def _why_batch_norm(layer, quantized: Collection[str], paths: Mapping[str, str]) -> str | None:
    """Returns why a batch norm has no layer that it could be folded into."""
    rule = "a batch norm is quantized only where it is folded into a convolution or Dense layer that it alone follows"
    if len(layer.inbound_nodes) != 1:
        return f"{rule}; this one is called {len(layer.inbound_nodes)} times"
    source = layer.inbound_nodes[0].inbound_layers
    path = paths.get(source.name, source.name)
    if source.name in paths and source.name not in quantized:  # or rounds the output of one that does
        return f"{rule}; '{path}' before it stays in float"
    if type(source).__name__ not in _FOLDING:
        return f"{rule}; this one follows '{path}' ({type(source).__name__})"
    if _name(source.activation) != "linear":
        return f"{rule}; '{path}' before it has the activation {_name(source.activation)}"
    if len(source.inbound_nodes) != 1 or len(source.outbound_nodes) != 1:
        return f"{rule}; '{path}' before it is called several times, or goes elsewhere too"
    return None


def why_unsupported(layer, registry: Registry, quantized: Collection[str], paths: Mapping[str, str]) -> str | None:
    """Returns why tfmot cannot quantize a layer of a tf_keras model, or `None` where it can.

    Args:
        layer: The layer, in its graph.
        registry: What says how layers are quantized.
        quantized: Names of all layers that are to be quantized.
        paths: By name of a layer, the path of the Keras layer that it stands for.
    """
    kind = type(layer).__name__
    if kind == "BatchNormalization":
        return _why_batch_norm(layer, quantized, paths)
    if not registry.supports(layer):
        return "it has no quantized form there"
    activation = getattr(layer, "activation", None)
    known = _ALONE if kind == "Activation" else _INSIDE
    if activation is not None and _name(activation) not in known:
        return f"its activation {_name(activation)} is none of {', '.join(sorted(known))}"
    return None
