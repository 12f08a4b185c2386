"""Conv2D."""

from collections.abc import Collection

import keras
from keras import layers, ops

from lrpet_tf.adapters.base import KernelAdapter, Shape, StockLayer
from lrpet_tf.layers.stock import conv2d_chain
from lrpet_tf.linalg import Chain, FactorShape


class Conv2DAdapter(KernelAdapter):
    """Conv2D of any stride, padding, dilation, kernel size and data format, with or without bias and activation."""

    def kernel(self, layer: layers.Conv2D) -> keras.Variable:
        """Returns the kernel `(kh, kw, in, out)`."""
        return layer.kernel

    def to_hwio(self, kernel):
        """Returns the kernel as it is."""
        return kernel

    def from_hwio(self, kernel):
        """Returns the kernel as it is."""
        return kernel

    def hwio_shape(self, layer: layers.Conv2D) -> tuple[int, int, int, int]:
        """Returns the shape of the kernel."""
        return tuple(layer.kernel.shape)

    def spatial_sizes(self, layer: layers.Conv2D, shape: Shape) -> Shape:
        """Returns the height and width of a tensor in the layer's data format."""
        return shape[1:-1] if layer.data_format == "channels_last" else shape[2:]

    def channel_axis(self, layer: layers.Conv2D) -> int:
        """Returns -1 for channels last and 1 for channels first."""
        return -1 if layer.data_format == "channels_last" else 1

    def why_unsupported(self, layer: layers.Conv2D) -> str | None:
        """Grouped convolutions are left as they are, beside the reasons of every kernel."""
        if layer.groups != 1:
            return f"grouped convolution (groups={layer.groups}) is not decomposed"
        return super().why_unsupported(layer)

    def stock_chain(self, layer: layers.Conv2D, chain: Chain, taken: Collection[str] = ()) -> list[StockLayer]:
        """Returns Conv2D layers; see `KernelAdapter.stock_chain`."""
        stock = conv2d_chain(layer, [FactorShape(factor.kernel.shape, factor.spatial_axes) for factor in chain], taken)
        weights = [[factor.kernel] for factor in chain]
        if layer.use_bias:
            weights[-1].append(ops.convert_to_numpy(layer.bias))
        return [StockLayer(*pair) for pair in zip(stock, weights, strict=True)]
