"""What an adapter is: the bridge between one family of Keras layers and kernels in HWIO order."""

import abc
import math
from collections.abc import Collection
from typing import NamedTuple

import keras
import numpy as np

from lrpet_tf.linalg import Chain

Shape = tuple[int | None, ...]


def product(sizes: Shape) -> int | None:
    """Returns the product of sizes, or `None` where one is unknown."""
    return None if None in sizes else math.prod(sizes)


class StockLayer(NamedTuple):
    """An unbuilt stock Keras layer and the weights that it gets once it is built."""

    layer: keras.layers.Layer
    weights: list[np.ndarray]


class Adapter(abc.ABC):
    """Counts the cost of the layers of one family; the base of those that can be factorized too."""

    @abc.abstractmethod
    def macs(self, layer: keras.layers.Layer, input_shape: Shape, output_shape: Shape) -> int | None:
        """Returns the multiply-accumulates of one call for one sample; `None` where a size is unknown."""

    @abc.abstractmethod
    def why_unsupported(self, layer: keras.layers.Layer) -> str | None:
        """Returns why the layer cannot be factorized, or `None` where it can."""

    def params(self, layer: keras.layers.Layer) -> int:
        """Returns the number of weights of the layer."""
        return sum(math.prod(weight.shape) for weight in layer.weights)

    def own_chain(self, layer: keras.layers.Layer) -> Chain | None:
        """Returns the chain that a layer of this library stands for, or `None` for a layer that stays as it is."""
        return None


class KernelAdapter(Adapter):
    """An adapter of layers with one kernel that can be decomposed."""

    @abc.abstractmethod
    def kernel(self, layer: keras.layers.Layer) -> keras.Variable:
        """Returns the variable of the kernel."""

    @abc.abstractmethod
    def to_hwio(self, kernel):
        """Reshapes a kernel, tensor or array, to `(kh, kw, in, out)`."""

    @abc.abstractmethod
    def from_hwio(self, kernel):
        """Reshapes a kernel `(kh, kw, in, out)`, tensor or array, to the layer's own layout."""

    @abc.abstractmethod
    def hwio_shape(self, layer: keras.layers.Layer) -> tuple[int, int, int, int]:
        """Returns the shape of the kernel as `(kh, kw, in, out)`."""

    @abc.abstractmethod
    def spatial_sizes(self, layer: keras.layers.Layer, shape: Shape) -> Shape:
        """Returns the height and width of an input or output of the layer, from its shape with the batch axis."""

    @abc.abstractmethod
    def stock_chain(self, layer: keras.layers.Layer, chain: Chain, taken: Collection[str] = ()) -> list[StockLayer]:
        """Returns the stock layers that compute what the layer would with the composed kernel of the chain.

        Args:
            layer: The layer that they stand for.
            chain: The factors.
            taken: Names that other layers of the model have.
        """

    def channel_axis(self, layer: keras.layers.Layer) -> int:
        """Returns the axis of the output channels: -1, or 1."""
        return -1

    def declared_rank(self, layer: keras.layers.Layer) -> float | int | None:
        """Returns the rank that the author of the layer declared, or `None`."""
        return None

    def own_activation(self, layer: keras.layers.Layer) -> str | None:
        """Returns the name of the activation inside the layer, or `None` where there is none."""
        if layer.activation is None or layer.activation is keras.activations.linear:
            return None
        return getattr(layer.activation, "__name__", type(layer.activation).__name__)

    def why_unsupported(self, layer: keras.layers.Layer) -> str | None:
        """Returns why the kernel cannot be factorized, or `None` where it can."""
        if getattr(layer, "quantization_mode", None) is not None:
            return f"its kernel is quantized ({layer.quantization_mode}): factorize before quantizing"
        if getattr(layer.activation, "weights", None):
            return f"its activation ({type(layer.activation).__name__}) has weights of its own: make it a layer of the model"
        if getattr(layer, "lora_enabled", False):
            return "LoRA is enabled: merge it by saving and reloading the model first"
        return None

    def macs(self, layer: keras.layers.Layer, input_shape: Shape, output_shape: Shape) -> int | None:
        """Returns the size of the kernel times the number of output positions."""
        positions = product(self.spatial_sizes(layer, output_shape))
        return None if positions is None else positions * math.prod(self.kernel(layer).shape)
