"""How tfmot is told to quantize: its own scheme of 8 bits, with three things put right or added.

Its pattern for a convolution or Dense layer and the ReLU behind it, without a batch norm between, leaves the weights in float;
operations that only move values need no range of their own; and sparse or clustered kernels are to stay so, layer by layer.
"""

import copy
import functools
from collections.abc import Mapping

from lrpet_tf.interop.operation import operation_class
from lrpet_tf.interop.packages import tf_keras, tfmot

# By the name of what is to be preserved, the scheme of tfmot that does so.
_PRESERVING = {
    "sparsity": lambda combine: combine.Default8BitPrunePreserveQuantizeScheme(),
    "clusters": lambda combine: combine.Default8BitClusterPreserveQuantizeScheme(preserve_sparsity=False),
    "both": lambda combine: combine.Default8BitClusterPreserveQuantizeScheme(preserve_sparsity=True),
}


def preserving_registry(what: str):
    """Returns the registry of tfmot that preserves sparsity, clusters, or both."""
    return _PRESERVING[what](tfmot().experimental.combine).get_quantize_registry()


@functools.cache
def passive_config():
    """Returns the class of what says that a layer hands values on in the range that they have, registered with tf_keras."""
    base, register = tfmot().quantization.keras.QuantizeConfig, tf_keras().utils.register_keras_serializable

    @register("lrpet_tf")
    class Passive(base):
        """Quantizes nothing."""

        def get_weights_and_quantizers(self, layer):
            return []

        def get_activations_and_quantizers(self, layer):
            return []

        def set_quantize_weights(self, layer, quantize_weights):
            pass

        def set_quantize_activations(self, layer, quantize_activations):
            pass

        def get_output_quantizers(self, layer):
            return []

        def get_config(self):
            return {}

    return Passive


class Registry:
    """What says how each layer is quantized.

    Args:
        preserved: By the name of a layer, what of its kernel is to be preserved.
    """

    def __init__(self, preserved: Mapping[str, str]):
        self._default = tfmot().quantization.keras.default_8bit.Default8BitQuantizeRegistry()
        self._preserved = preserved

    def supports(self, layer) -> bool:
        """Returns whether a layer can be quantized."""
        if isinstance(layer, operation_class()):
            return layer.only_moves
        return self._default.supports(layer)

    def get_quantize_config(self, layer):
        """Returns what says how a layer is quantized; one that it shares with no other layer."""
        if isinstance(layer, operation_class()):
            return passive_config()()
        what = self._preserved.get(layer.name)
        registry = self._default if what is None else preserving_registry(what)
        return copy.copy(registry.get_quantize_config(layer))  # tfmot gives all convolutions the same one


class _Layout:
    """The layout of tfmot, with the weights quantized that it forgets."""

    def __init__(self, registry: Registry):
        self._default = tfmot().quantization.keras.default_8bit.Default8BitQuantizeLayoutTransform()
        self._registry = registry

    def apply(self, model, layer_quantize_map):
        model, table = self._default.apply(model, layer_quantize_map)
        for layer in model.layers:
            given = table.get(layer.name, {}).get("quantize_config")
            if type(given).__name__ == "NoOpQuantizeConfig" and hasattr(layer, "activation") and layer.weights:
                config = self._registry.get_quantize_config(layer)
                config.activation_attrs = []  # the range is that of the ReLU behind it
                table[layer.name]["quantize_config"] = config
        return model, table


class Scheme:
    """What `quantize_apply` takes for a scheme.

    Args:
        preserved: By the name of a layer, what of its kernel is to be preserved: `"sparsity"`, `"clusters"` or `"both"`.
    """

    def __init__(self, preserved: Mapping[str, str]):
        self._registry = Registry(preserved)

    def get_layout_transformer(self):
        """Returns what prepares the graph."""
        return _Layout(self._registry)

    def get_quantize_registry(self) -> Registry:
        """Returns what says how each layer is quantized."""
        return self._registry
