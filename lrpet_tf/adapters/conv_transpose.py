"""Conv1DTranspose, Conv2DTranspose and Conv3DTranspose."""

from collections.abc import Collection

import numpy as np
from keras import layers, ops

from lrpet_tf.adapters.base import KernelAdapter, StockLayer
from lrpet_tf.adapters.conv import ConvAdapter
from lrpet_tf.layers.stock import conv_transpose_chain
from lrpet_tf.linalg import Chain, KernelShape, shapes_of

_KINDS = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)


class ConvTransposeAdapter(ConvAdapter):
    """Transposed convolutions: each position of the input meets the kernel. Factors without a size are plain convolutions."""

    transposed = True

    def to_hwio(self, layer, kernel):
        """Returns a kernel `(*sizes, out, in)` with its channels the other way round."""
        return ops.swapaxes(kernel, -1, -2)

    def from_hwio(self, layer, kernel):
        """Returns a kernel with its channels in the layer's order."""
        return ops.swapaxes(kernel, -1, -2)

    def hwio_shape(self, layer) -> KernelShape:
        """Returns the shape with the channels the other way round."""
        *sizes, outputs, inputs = layer.kernel.shape
        return (*sizes, inputs, outputs)

    def groups(self, layer) -> int:
        """Returns 1."""
        return 1

    def why_unsupported(self, layer) -> str | None:
        """Returns the reasons of every kernel."""
        return KernelAdapter.why_unsupported(self, layer)

    def stock_chain(self, layer, chain: Chain, taken: Collection[str] = ()) -> list[StockLayer]:
        """Returns transposed and plain convolutions; see `KernelAdapter.stock_chain`."""
        stock = conv_transpose_chain(layer, shapes_of(chain), taken)
        weights = [
            [np.swapaxes(factor.kernel, -1, -2) if isinstance(made, _KINDS) else factor.kernel]
            for made, factor in zip(stock, chain, strict=True)
        ]
        if layer.use_bias:
            weights[-1].append(ops.convert_to_numpy(layer.bias))
        return [StockLayer(*pair) for pair in zip(stock, weights, strict=True)]

    def embedded(self, layer, chain: Chain, form: str, rank: int):
        """Returns a chain; see `KernelAdapter.embedded`."""
        return KernelAdapter.embedded(self, layer, chain, form, rank)
