"""Dense."""

from collections.abc import Collection

from keras import layers, ops

from lrpet_tf.adapters.base import KernelAdapter, Shape, StockLayer, product
from lrpet_tf.layers import LowRankDense
from lrpet_tf.layers.stock import dense_chain
from lrpet_tf.linalg import Chain, shapes_of


class DenseAdapter(KernelAdapter):
    """Dense on inputs of any number of axes: a 1×1 convolution over the axes between batch and features."""

    def kernel(self, layer: layers.Dense):
        """Returns the kernel `(in, out)`."""
        return layer.kernel

    def sizes(self, layer, input_shape: Shape, output_shape: Shape) -> tuple[Shape, Shape]:
        """Returns the number of positions: all axes between batch and features, as one."""
        positions = (product(tuple(input_shape[1:-1])), 1)
        return positions, positions

    def stock_chain(self, layer: layers.Dense, chain: Chain, taken: Collection[str] = ()) -> list[StockLayer]:
        """Returns Dense layers; see `KernelAdapter.stock_chain`."""
        stock = dense_chain(layer, shapes_of(chain), taken)
        weights = [[factor.kernel[0, 0]] for factor in chain]
        if layer.use_bias:
            weights[-1].append(ops.convert_to_numpy(layer.bias))
        return [StockLayer(*pair) for pair in zip(stock, weights, strict=True)]

    def embedded(self, layer, chain: Chain, form: str, rank: int):
        """Returns a LowRankDense; see `KernelAdapter.embedded`."""
        if type(self).stock_chain is not DenseAdapter.stock_chain:  # a user's chain may hold other layers
            return super().embedded(layer, chain, form, rank)
        made = LowRankDense.like(layer, rank, form)
        return made, [StockLayer(made, [weight for _, weights in self.stock_chain(layer, chain) for weight in weights])]
