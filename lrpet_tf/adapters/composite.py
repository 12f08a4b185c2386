"""Layers that are made of layers: wrappers, and attention."""

import abc
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

import keras

from lrpet_tf.adapters.base import Shape, StockLayer
from lrpet_tf.linalg import Chain, FactorShape


class Rebuilt(NamedTuple):
    """Stock layers in the place of a composite layer: how to call them, and the weights that they get once built."""

    call: Callable
    stock: list[StockLayer]


class WrapperAdapter:
    """A layer that applies one layer several times, and whose configuration holds that of the layer inside."""

    def inner(self, layer: keras.layers.Layer) -> keras.layers.Layer:
        """Returns the layer inside."""
        return layer.layer

    def inner_shape(self, input_shape: Shape) -> Shape:
        """Returns the shape of the input of the layer inside."""
        return (input_shape[0], *input_shape[2:])

    def times(self, input_shape: Shape) -> int | None:
        """Returns how often a call applies the layer inside; `None` where that is unknown."""
        return input_shape[1]


class CompositeAdapter(abc.ABC):
    """A layer that makes its layers itself, and can be rebuilt with other layers before and after it."""

    @abc.abstractmethod
    def why_part_unsupported(self, layer: keras.layers.Layer, part: keras.layers.Layer) -> str | None:
        """Returns why the kernel of a layer inside cannot be factorized, or `None` where it can."""

    def extra_params(self, layer: keras.layers.Layer, part: keras.layers.Layer, shapes: tuple[FactorShape, ...]) -> int:
        """Returns the number of weights that the chain of a layer inside needs beside its factors."""
        return 0

    def linked(self, layer: keras.layers.Layer) -> tuple[keras.layers.Layer, ...]:
        """Returns the layers inside whose ranks must be equal."""
        return ()

    @abc.abstractmethod
    def rebuild(self, layer: keras.layers.Layer, chains: Mapping[int, Chain], taken: Collection[str] = ()) -> Rebuilt:
        """Returns stock layers that compute what the layer would with the composed kernels of some chains.

        Args:
            layer: The layer that they stand for.
            chains: By id of the layer inside, its factors.
            taken: Names that other layers of the model have.
        """
