"""Which batch norm follows a layer, decided from the graph."""

from collections import defaultdict
from typing import NamedTuple

import keras

from lrpet_tf.adapters.base import KernelAdapter
from lrpet_tf.adapters.batch_norm import is_batch_norm, normalises_axis, preserves_channels
from lrpet_tf.graph.reading import Call, Graph


class Following(NamedTuple):
    """The path of the batch norm that follows a layer, or `None`, and the reason for either."""

    batch_norm: str | None
    reason: str


class BatchNormFinder:
    """Finds the batch norm that scales the output of a layer, and nothing else does.

    Args:
        graph: The graph of the model.
    """

    def __init__(self, graph: Graph):
        self._graph, self._outputs = graph, frozenset(graph.outputs)
        self._consumers: dict[int, list[Call]] = defaultdict(list)
        for call in graph.calls:
            for tensor in call.inputs:
                if tensor not in call.outputs:  # else it is handed on as it is, as by a Dropout that is run as Python code
                    self._consumers[tensor].append(call)

    def find(self, layer: keras.layers.Layer, adapter: KernelAdapter) -> Following:
        """Returns the batch norm whose scale may be merged into the kernel of a layer.

        It must be the only consumer of the layer's output, with nothing nonlinear between, at every call of the layer.

        Args:
            layer: A layer of the graph.
            adapter: Its adapter.

        Returns:
            The path of the batch norm or `None`, and why.
        """
        activation = adapter.own_activation(layer)
        if activation is not None:
            return Following(None, f"the layer has an activation of its own ({activation})")
        axis = adapter.channel_axis(layer)
        if axis is None:
            return Following(None, "its output channels are not a single axis")
        found = [self._follow(call, axis) for call in self._graph.calls_of(layer)]
        without = next((following for following in found if following.batch_norm is None), None)
        if without is not None:
            return without
        paths = sorted({following.batch_norm for following in found})
        if len(paths) > 1:
            return Following(None, f"its {len(found)} calls lead to different batch norms: {', '.join(paths)}")
        return Following(paths[0], f"followed by batch norm '{paths[0]}' alone")

    def _follow(self, call: Call, channel_axis: int) -> Following:
        while True:
            tensor = call.outputs[0]
            if tensor in self._outputs:
                return Following(None, f"the output of '{call.path}' is an output of the model")
            consumers = self._consumers[tensor]
            if not consumers and call.within:
                return Following(None, f"the output of '{call.path}' leaves '{call.within[-1].name}'")
            if len(consumers) != 1:
                names = ", ".join(f"'{consumer.path}'" for consumer in consumers) or "nothing"
                return Following(None, f"the output of '{call.path}' goes to {names}")
            (consumer,) = consumers
            if is_batch_norm(consumer.layer):
                if not normalises_axis(consumer.layer, channel_axis, len(consumer.input_shape)):
                    return Following(None, f"batch norm '{consumer.path}' works along axis {consumer.layer.axis}")
                return Following(consumer.path, "")
            if not preserves_channels(consumer.layer):
                return Following(None, f"followed by '{consumer.path}' ({type(consumer.layer).__name__}), no batch norm")
            call = consumer
