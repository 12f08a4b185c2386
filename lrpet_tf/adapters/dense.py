"""Dense."""

from collections.abc import Collection

import keras
from keras import layers, ops

from lrpet_tf.adapters.base import KernelAdapter, Shape, StockLayer, product
from lrpet_tf.layers.stock import dense_chain
from lrpet_tf.linalg import Chain, FactorShape


class DenseAdapter(KernelAdapter):
    """Dense on inputs of any number of axes: a 1×1 convolution over the axes between batch and features."""

    def kernel(self, layer: layers.Dense) -> keras.Variable:
        """Returns the kernel `(in, out)`."""
        return layer.kernel

    def to_hwio(self, kernel):
        """Returns the kernel as `(1, 1, in, out)`."""
        return kernel[None, None]

    def from_hwio(self, kernel):
        """Returns a kernel `(1, 1, in, out)` as `(in, out)`."""
        return kernel[0, 0]

    def hwio_shape(self, layer: layers.Dense) -> tuple[int, int, int, int]:
        """Returns `(1, 1, in, out)`."""
        return (1, 1, *layer.kernel.shape)

    def spatial_sizes(self, layer: layers.Dense, shape: Shape) -> Shape:
        """Returns the number of positions and 1: all axes between batch and features, as one."""
        return product(tuple(shape[1:-1])), 1

    def stock_chain(self, layer: layers.Dense, chain: Chain, taken: Collection[str] = ()) -> list[StockLayer]:
        """Returns Dense layers; see `KernelAdapter.stock_chain`."""
        stock = dense_chain(layer, [FactorShape(factor.kernel.shape, factor.spatial_axes) for factor in chain], taken)
        weights = [[self.from_hwio(factor.kernel)] for factor in chain]
        if layer.use_bias:
            weights[-1].append(ops.convert_to_numpy(layer.bias))
        return [StockLayer(*pair) for pair in zip(stock, weights, strict=True)]
