"""TimeDistributed: counted, not entered."""

from collections.abc import Callable

from lrpet_tf.adapters.base import Adapter, Shape


class TimeDistributedAdapter(Adapter):
    """Counts the layer inside once for every step.

    Args:
        find: Returns the adapter of a layer, or `None`.
    """

    def __init__(self, find: Callable):
        self._find = find

    def macs(self, layer, input_shape: Shape, output_shape: Shape) -> int | None:
        """Returns the multiply-accumulates of the layer inside times the steps."""
        inner = self._find(layer.layer)
        if inner is None:
            return 0
        macs = inner.macs(layer.layer, (None, *input_shape[2:]), (None, *output_shape[2:]))
        return None if macs is None or input_shape[1] is None else macs * input_shape[1]

    def params(self, layer) -> int:
        """Returns the weights of the layer inside, where it is of a counted type."""
        inner = self._find(layer.layer)
        return 0 if inner is None else inner.params(layer.layer)

    def why_unsupported(self, layer) -> str:
        """Layers inside a wrapper are not rewritten."""
        return f"{type(layer.layer).__name__} inside TimeDistributed is not decomposed"
