"""What an adapter is: the bridge between one family of Keras layers and kernels `(*spatial sizes, in, out)`."""

import abc
import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from lrpet_tf.layers import FactorChain
from lrpet_tf.linalg import Chain, FactorShape, KernelShape, whole

Shape = tuple[int | None, ...]

# Offsets into larger arrays overflow 32-bit integers in the backends' decompositions.
_LARGEST = 2**31


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
    """An adapter of layers with one kernel that can be decomposed.

    What is written here suits layers with a kernel `(in, out)` or `(*spatial sizes, in, out)`, channels last: a new adapter of
    such a layer needs `kernel` and `stock_chain` alone.
    """

    # Whether each position of the input meets the kernel, rather than each of the output.
    transposed = False

    @abc.abstractmethod
    def kernel(self, layer: keras.layers.Layer) -> keras.Variable:
        """Returns the variable of the kernel."""

    @abc.abstractmethod
    def stock_chain(self, layer: keras.layers.Layer, chain: Chain, taken: Collection[str] = ()) -> list[StockLayer]:
        """Returns the stock layers that compute what the layer would with the composed kernel of the chain.

        Args:
            layer: The layer that they stand for.
            chain: The factors; a single one stands for the layer as it is.
            taken: Names that other layers of the model have.
        """

    def to_hwio(self, layer: keras.layers.Layer, kernel):
        """Returns a kernel in the layer's own layout, tensor or array, as `(*spatial sizes, in, out)`."""
        return kernel[None, None] if len(kernel.shape) == 2 else kernel

    def from_hwio(self, layer: keras.layers.Layer, kernel):
        """Returns a kernel `(*spatial sizes, in, out)`, tensor or array, in the layer's own layout."""
        return kernel[0, 0] if len(self.kernel(layer).shape) == 2 else kernel

    def hwio_shape(self, layer: keras.layers.Layer) -> KernelShape:
        """Returns the shape of the kernel as `(*spatial sizes, in, out)`."""
        shape = tuple(self.kernel(layer).shape)
        return (1, 1, *shape) if len(shape) == 2 else shape

    def read(self, layer: keras.layers.Layer):
        """Returns the kernel as it is now, a tensor `(*spatial sizes, in, out)`."""
        kernel = self.kernel(layer)
        tensor = ops.cast(kernel, kernel.dtype)  # `convert_to_tensor` may leave a variable as it is
        return self.to_hwio(layer, tensor)

    def write(self, layer: keras.layers.Layer, kernel) -> None:
        """Assigns a kernel, a tensor `(*spatial sizes, in, out)`."""
        self.kernel(layer).assign(self.from_hwio(layer, kernel))

    def groups(self, layer: keras.layers.Layer) -> int:
        """Returns the number of groups of channels that do not meet."""
        return 1

    def sizes(self, layer: keras.layers.Layer, input_shape: Shape, output_shape: Shape) -> tuple[Shape, Shape]:
        """Returns the spatial sizes of an input and an output, from their shapes with the batch axis."""
        if len(self.kernel(layer).shape) > 2:
            return tuple(input_shape[1:-1]), tuple(output_shape[1:-1])
        positions = (product(tuple(input_shape[1:-1])), 1)
        return positions, positions

    def output_shape(self, layer: keras.layers.Layer, input_shape: Shape, output_shape: Shape) -> Shape:
        """Returns the shape of an output, with sizes that Keras has left open although they follow from the input."""
        return tuple(output_shape)

    def chain_macs(
        self, layer: keras.layers.Layer, shapes: Sequence[FactorShape], input_shape: Shape, output_shape: Shape
    ) -> int | None:
        """Returns the multiply-accumulates of one call, for one sample, of a chain in the place of the kernel.

        Args:
            layer: The layer.
            shapes: The factors.
            input_shape: Shape of the layer's input, with the batch axis.
            output_shape: Shape of its output.

        Returns:
            Their number, or `None` where a size is unknown.
        """
        sizes, outputs = self.sizes(layer, input_shape, output_shape)
        total = 0
        for factor in shapes:
            after = tuple(outputs[axis] if axis in factor.spatial_axes else size for axis, size in enumerate(sizes))
            positions = product(sizes if self.transposed and factor.spatial_axes else after)
            if positions is None:
                return None
            total += positions * math.prod(factor.shape)
            sizes = after
        return total

    def other_macs(self, layer: keras.layers.Layer, input_shape: Shape, output_shape: Shape) -> int | None:
        """Returns the multiply-accumulates of what the layer does beside its kernel."""
        return 0

    def macs(self, layer: keras.layers.Layer, input_shape: Shape, output_shape: Shape) -> int | None:
        """Returns the size of the kernel times the positions that it meets, and what the layer does beside."""
        kernel = self.chain_macs(layer, whole(self.hwio_shape(layer)), input_shape, output_shape)
        other = self.other_macs(layer, input_shape, output_shape)
        return None if kernel is None or other is None else kernel + other

    def extra_params(self, layer: keras.layers.Layer, shapes: Sequence[FactorShape]) -> int:
        """Returns how many weights more a chain has than its factors and what the layer has beside its kernel.

        Args:
            layer: The layer.
            shapes: The factors.

        Returns:
            A negative number where `stock_chain` merges weights into the factors.
        """
        return 0

    def call_chain(self, made: Sequence[keras.layers.Layer], args: tuple, kwargs: dict):
        """Calls the layers of `stock_chain` one after the other, with the arguments that the layer was called with."""
        first, *rest = made
        outputs = first(*args, **kwargs)
        for layer in rest:
            outputs = layer(outputs)
        return outputs

    def embedded(
        self, layer: keras.layers.Layer, chain: Chain, form: str, rank: int
    ) -> tuple[keras.layers.Layer, list[StockLayer]]:
        """Returns one layer that computes what a chain does, to put where a single layer must stand, as inside another layer.

        Args:
            layer: The layer that it stands for.
            chain: The factors.
            form: Name of their decomposition.
            rank: Its rank.

        Returns:
            The unbuilt layer, and the layers inside it with the weights that they get once it is built.
        """
        stock = self.stock_chain(layer, chain)
        return FactorChain([made for made, _ in stock], name=layer.name, dtype=layer.dtype_policy), stock

    def why_not_inside(self, layer: keras.layers.Layer) -> str | None:
        """Returns why a layer cannot be replaced inside another layer, or `None` where it can."""
        return None

    def channel_axis(self, layer: keras.layers.Layer) -> int | None:
        """Returns the axis of the output channels: -1, or 1; `None` where they are not a single axis."""
        return -1

    def declared_rank(self, layer: keras.layers.Layer) -> float | int | None:
        """Returns the rank that the author of the layer declared, or `None`."""
        return None

    def own_activation(self, layer: keras.layers.Layer) -> str | None:
        """Returns the name of the activation inside the layer, or `None` where there is none."""
        activation = getattr(layer, "activation", None)
        if activation is None or activation is keras.activations.linear:
            return None
        return getattr(activation, "__name__", type(activation).__name__)

    def why_unsupported(self, layer: keras.layers.Layer) -> str | None:
        """Returns why the kernel cannot be factorized, or `None` where it can."""
        if getattr(layer, "quantization_mode", None) is not None:
            return f"its kernel is quantized ({layer.quantization_mode}): factorize before quantizing"
        if getattr(layer, "lora_enabled", False):
            return "LoRA is enabled: merge it by saving and reloading the model first"
        if len(self.hwio_shape(layer)) < 3:
            return f"its kernel has the shape {self.hwio_shape(layer)}, where (*spatial sizes, in, out) is expected"
        size = math.prod(self.hwio_shape(layer))
        if not size:
            return f"its kernel is empty: {'×'.join(map(str, self.hwio_shape(layer)))}"
        if size > _LARGEST:
            return f"its kernel has {size:,} values, more than 2^31, which cannot be decomposed in one piece: split the layer"
        return self.why_activation_unsupported(layer)

    def why_activation_unsupported(self, layer: keras.layers.Layer) -> str | None:
        """Returns what keeps the layer's activation from moving to the last layer of a chain, or `None`."""
        activation = getattr(layer, "activation", None)
        if getattr(activation, "weights", None):
            return f"its activation ({type(activation).__name__}) has weights of its own: make it a layer of the model"
        return None
