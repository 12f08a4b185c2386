"""LSTM, GRU and SimpleRNN, alone or Bidirectional: the kernel that reads the input.

A Dense layer without bias makes the input narrower for all steps at once; the recurrent kernel stays as it is.
"""

import math
from collections.abc import Collection, Sequence

import numpy as np
from keras import layers, ops

from lrpet_tf.adapters.base import KernelAdapter, Shape, StockLayer
from lrpet_tf.adapters.copying import copy_operation
from lrpet_tf.layers.stock import narrowing_chain
from lrpet_tf.linalg import Chain, KernelShape, shapes_of

_SUPPORTED = (layers.LSTM, layers.GRU, layers.SimpleRNN)


def _unbuilt(config):
    """Returns a configuration without the shapes that layers inside were built on: the input is narrower now."""
    if isinstance(config, dict):
        return {key: _unbuilt(value) for key, value in config.items() if key != "build_config"}
    return config


class RecurrentAdapter(KernelAdapter):
    """The input kernel `(in, gates · units)`."""

    def _cells(self, layer) -> list:
        return [layer.cell]

    def kernel(self, layer):
        """Returns the kernel of the cell."""
        return layer.cell.kernel

    def sizes(self, layer, input_shape: Shape, output_shape: Shape) -> tuple[Shape, Shape]:
        """Returns the number of steps."""
        return (input_shape[1], 1), (input_shape[1], 1)

    def other_macs(self, layer, input_shape: Shape, output_shape: Shape) -> int | None:
        """Returns those of the recurrent kernels."""
        size = sum(math.prod(cell.recurrent_kernel.shape) for cell in self._cells(layer))
        return None if input_shape[1] is None else input_shape[1] * size

    def own_activation(self, layer) -> str:
        """Returns that of the cell."""
        return super().own_activation(self._cells(layer)[0]) or "its gates"

    def why_not_inside(self, layer) -> str:
        """A chain could not hand on the states that the layer around it may pass."""
        return f"{type(layer).__name__} inside another layer is left as it is"

    def stock_chain(self, layer, chain: Chain, taken: Collection[str] = ()) -> list[StockLayer]:
        """Returns Dense layers and the recurrent layer; see `KernelAdapter.stock_chain`."""
        *narrowing, last = chain
        stock = narrowing_chain(layer, self._cells(layer)[0], shapes_of(tuple(narrowing)), taken)
        made = [StockLayer(each, [factor.kernel[0, 0]]) for each, factor in zip(stock, narrowing, strict=True)]
        return [*made, StockLayer(copy_operation(layer, _unbuilt(layer.get_config())), self._weights(layer, last.kernel[0, 0]))]

    def _weights(self, layer, kernel: np.ndarray) -> list[np.ndarray]:
        """Returns the weights of the recurrent layer with other input kernels, which are given side by side."""
        cells = self._cells(layer)
        parts = {id(cell.kernel): part for cell, part in zip(cells, np.split(kernel, len(cells), axis=-1), strict=True)}
        return [parts[id(weight)] if id(weight) in parts else ops.convert_to_numpy(weight) for weight in layer.weights]

    def call_chain(self, made: Sequence, args: tuple, kwargs: dict):
        """The states and the mask go to the recurrent layer, the last one."""
        *narrowing, last = made
        kwargs = dict(kwargs)
        x, *rest = args if args else (kwargs.pop("sequences" if "sequences" in kwargs else "inputs"),)
        for layer in narrowing:
            x = layer(x)
        return last(x, *rest, **kwargs)


class BidirectionalAdapter(RecurrentAdapter):
    """Both input kernels side by side, `(in, 2 · gates · units)`: both directions read the same narrower input."""

    def _cells(self, layer) -> list:
        return [layer.forward_layer.cell, layer.backward_layer.cell]

    def kernel(self, layer):
        """Returns the kernel of the forward direction; `read` and `write` know both."""
        return layer.forward_layer.cell.kernel

    def read(self, layer):
        """Returns both kernels side by side."""
        return self.to_hwio(
            layer, ops.concatenate([ops.convert_to_tensor(cell.kernel) for cell in self._cells(layer)], axis=-1)
        )

    def write(self, layer, kernel) -> None:
        """Assigns both kernels."""
        parts = ops.split(self.from_hwio(layer, kernel), 2, axis=-1)
        for cell, part in zip(self._cells(layer), parts, strict=True):
            cell.kernel.assign(part)

    def hwio_shape(self, layer) -> KernelShape:
        """Returns the shape of both kernels side by side."""
        inputs, outputs = layer.forward_layer.cell.kernel.shape
        return (1, 1, inputs, 2 * outputs)

    def why_unsupported(self, layer) -> str | None:
        """Other layers than LSTM, GRU and SimpleRNN have no single input kernel."""
        if type(layer.forward_layer) not in _SUPPORTED or type(layer.backward_layer) is not type(layer.forward_layer):
            return f"{type(layer.forward_layer).__name__} inside Bidirectional is not decomposed"
        return super().why_unsupported(layer)

    def macs(self, layer, input_shape: Shape, output_shape: Shape) -> int | None:
        """Returns those of both directions, where their layers are known."""
        supported = type(layer.forward_layer) in _SUPPORTED and type(layer.backward_layer) in _SUPPORTED
        return super().macs(layer, input_shape, output_shape) if supported else 0
