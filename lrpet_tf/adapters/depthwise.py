"""Depthwise convolutions: they are left as they are, and their cost is counted."""

import math

from lrpet_tf.adapters.base import Adapter, Shape, product


class DepthwiseAdapter(Adapter):
    """Counts the kernel of a depthwise convolution at its output positions."""

    def macs(self, layer, input_shape: Shape, output_shape: Shape) -> int | None:
        """Returns the size of the kernel times the positions that it meets."""
        positions = product(output_shape[1:-1] if layer.data_format == "channels_last" else output_shape[2:])
        return None if positions is None else positions * math.prod(layer.kernel.shape)

    def why_unsupported(self, layer) -> str:
        """Returns the reason of the family."""
        return "depthwise: each filter reads a single channel, so there is no rank to cut"
