"""SeparableConv1D and SeparableConv2D: their pointwise part."""

import math
from collections.abc import Collection

from keras import ops

from lrpet_tf.adapters.base import KernelAdapter, Shape, StockLayer, product
from lrpet_tf.adapters.conv import ConvAdapter
from lrpet_tf.layers.stock import separable_chain
from lrpet_tf.linalg import Chain, shapes_of


class SeparableConvAdapter(ConvAdapter):
    """The pointwise kernel; the depthwise one stays with the first layer of the chain, which is separable too."""

    def kernel(self, layer):
        """Returns the pointwise kernel `(1, …, in · depth multiplier, out)`."""
        return layer.pointwise_kernel

    def groups(self, layer) -> int:
        """Returns 1."""
        return 1

    def sizes(self, layer, input_shape: Shape, output_shape: Shape) -> tuple[Shape, Shape]:
        """Returns the sizes of the output twice: the pointwise kernel works behind the stride."""
        _, outputs = super().sizes(layer, input_shape, output_shape)
        return outputs, outputs

    def other_macs(self, layer, input_shape: Shape, output_shape: Shape) -> int | None:
        """Returns those of the depthwise part."""
        positions = product(self.sizes(layer, input_shape, output_shape)[1])
        return None if positions is None else positions * math.prod(layer.depthwise_kernel.shape)

    def why_unsupported(self, layer) -> str | None:
        """Returns the reasons of every kernel."""
        return KernelAdapter.why_unsupported(self, layer)

    def stock_chain(self, layer, chain: Chain, taken: Collection[str] = ()) -> list[StockLayer]:
        """Returns a separable convolution and pointwise ones; see `KernelAdapter.stock_chain`."""
        stock = separable_chain(layer, shapes_of(chain), taken)
        weights = [[factor.kernel] for factor in chain]
        weights[0].insert(0, ops.convert_to_numpy(layer.depthwise_kernel))
        if layer.use_bias:
            weights[-1].append(ops.convert_to_numpy(layer.bias))
        return [StockLayer(*pair) for pair in zip(stock, weights, strict=True)]

    def embedded(self, layer, chain: Chain, form: str, rank: int):
        """Returns a chain; see `KernelAdapter.embedded`."""
        return KernelAdapter.embedded(self, layer, chain, form, rank)
