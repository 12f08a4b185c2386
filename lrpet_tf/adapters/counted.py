"""Convolutions that are left as they are: their cost is counted, and the reason is given."""

import math

from lrpet_tf.adapters.base import Adapter, Shape, product


def _positions(layer, shape: Shape) -> int | None:
    return product(shape[1:-1] if layer.data_format == "channels_last" else shape[2:])


class CountedAdapter(Adapter):
    """Counts the kernels of a convolution at its output positions, or at its input positions when it is transposed.

    Args:
        kernels: Names of the attributes that hold the kernels.
        reason: Why such a layer is not decomposed.
        transposed: Whether each input position meets the kernel once, rather than each output position.
    """

    def __init__(self, kernels: tuple[str, ...], reason: str, *, transposed: bool = False):
        self._kernels, self._reason, self._transposed = kernels, reason, transposed

    def macs(self, layer, input_shape: Shape, output_shape: Shape) -> int | None:
        """Returns the sizes of the kernels times the positions they meet."""
        positions = _positions(layer, input_shape if self._transposed else output_shape)
        return None if positions is None else positions * sum(math.prod(getattr(layer, k).shape) for k in self._kernels)

    def why_unsupported(self, layer) -> str:
        """Returns the reason of the family."""
        return self._reason
