"""Conv1D, Conv2D and Conv3D, grouped or not."""

from collections.abc import Collection

from keras import ops

from lrpet_tf.adapters.base import KernelAdapter, Shape, StockLayer
from lrpet_tf.layers import LowRankConv2D
from lrpet_tf.layers.stock import conv_chain
from lrpet_tf.linalg import Chain, shapes_of


class ConvAdapter(KernelAdapter):
    """Convolutions of any stride, padding, dilation, size, groups and data format, with or without bias and activation."""

    def kernel(self, layer):
        """Returns the kernel `(*sizes, in of a group, out)`."""
        return layer.kernel

    def groups(self, layer) -> int:
        """Returns the number of groups."""
        return layer.groups

    def sizes(self, layer, input_shape: Shape, output_shape: Shape) -> tuple[Shape, Shape]:
        """Returns the sizes in the layer's data format."""
        return tuple(tuple(s[1:-1] if layer.data_format == "channels_last" else s[2:]) for s in (input_shape, output_shape))

    def channel_axis(self, layer) -> int:
        """Returns -1 for channels last and 1 for channels first."""
        return -1 if layer.data_format == "channels_last" else 1

    def why_unsupported(self, layer) -> str | None:
        """Depthwise convolutions, written as grouped ones, are left as they are, beside the reasons of every kernel."""
        if layer.groups > 1 and layer.kernel.shape[-2] == 1:
            return f"depthwise (groups={layer.groups}): each filter reads a single channel, so there is no rank to cut"
        return super().why_unsupported(layer)

    def stock_chain(self, layer, chain: Chain, taken: Collection[str] = ()) -> list[StockLayer]:
        """Returns convolutions; see `KernelAdapter.stock_chain`."""
        stock = conv_chain(layer, shapes_of(chain), taken)
        weights = [[factor.kernel] for factor in chain]
        if layer.use_bias:
            weights[-1].append(ops.convert_to_numpy(layer.bias))
        return [StockLayer(*pair) for pair in zip(stock, weights, strict=True)]

    def embedded(self, layer, chain: Chain, form: str, rank: int):
        """Returns a LowRankConv2D for a Conv2D; see `KernelAdapter.embedded`."""
        if layer.rank != 2 or type(self).stock_chain is not ConvAdapter.stock_chain:  # a user's chain may hold other layers
            return super().embedded(layer, chain, form, rank)
        made = LowRankConv2D.like(layer, rank, form)
        return made, [StockLayer(made, [weight for _, weights in self.stock_chain(layer, chain) for weight in weights])]
