"""The forms that cut a single matrix: the kernel read with some axes as rows and the others as columns.

With the rows `(the spatial axes of the first factor, in)` and the columns `(the other spatial axes, out)` the kernel is a
matrix `K = A · B`: `A` is the first factor, `B` the second. The scale that a batch norm gives the output channels scales
columns, so the exact projection of `linalg.truncate`, which needs no division by it, holds for every such form.
"""

import abc
import math

import numpy as np
from keras import ops

from lrpet_tf.decompositions.base import Cut, Decomposition
from lrpet_tf.linalg import (
    Chain,
    Factor,
    FactorShape,
    KernelShape,
    Truncated,
    balanced_pair,
    singular_values,
    truncate_and_measure,
    truncated_pair,
)


class MatrixDecomposition(Decomposition):
    """`K = A · B`, with the spatial axes shared out between the two factors."""

    @abc.abstractmethod
    def _first_axes(self, count: int) -> tuple[int, ...]:
        """Returns which of `count` spatial axes the first factor owns."""

    def _order(self, count: int) -> tuple[int, ...]:
        """Returns the axes of a kernel as rows, then columns."""
        first = self._first_axes(count)
        return (*first, count, *(axis for axis in range(count) if axis not in first), count + 1)

    def _sides(self, shape: KernelShape) -> tuple[int, int]:
        """Returns the number of rows and of columns."""
        rows = math.prod(shape[axis] for axis in self._first_axes(len(shape) - 2)) * shape[-2]
        return rows, math.prod(shape) // rows

    def _max_rank(self, shape: KernelShape) -> int:
        return min(self._sides(shape))

    def _factor_shapes(self, shape: KernelShape, rank: int) -> tuple[FactorShape, ...]:
        axes = range(len(shape) - 2)
        first = self._first_axes(len(axes))
        second = tuple(axis for axis in axes if axis not in first)
        return (
            FactorShape((*(shape[axis] if axis in first else 1 for axis in axes), shape[-2], rank), first),
            FactorShape((*(shape[axis] if axis in second else 1 for axis in axes), rank, shape[-1]), second),
        )

    def _project(self, kernels, rank, gains, starts: tuple, **options) -> Truncated:
        shape = kernels.shape[1:]
        rows, columns = self._sides(shape)
        order = self._order(len(shape) - 2)
        if gains is not None and columns > shape[-1]:
            gains = ops.tile(gains, (1, columns // shape[-1]))
        there = (0, *(axis + 1 for axis in order))
        back = tuple(map(int, np.argsort(there)))
        ordered = kernels if there == tuple(range(len(there))) else ops.transpose(kernels, there)
        (start,) = starts or (None,)
        matrices = ops.reshape(ordered, (-1, rows, columns))
        found = truncate_and_measure(matrices, rank, gain=gains, start=start, **options)
        projected = ops.reshape(found.matrix, ordered.shape)
        return found._replace(matrix=projected if ordered is kernels else ops.transpose(projected, back))

    def _cuts(self, shape: KernelShape, rank: int) -> tuple[Cut, ...]:
        return (Cut(*self._sides(shape), rank),)

    def _factors(self, kernel, rank: int) -> list:
        shapes = self._factor_shapes(kernel.shape, rank)
        matrix = ops.reshape(ops.transpose(kernel, self._order(len(kernel.shape) - 2)), self._sides(kernel.shape))
        first, second = balanced_pair(matrix, rank)
        columns = ops.reshape(second, (rank, *shapes[1].shape[:-2], kernel.shape[-1]))
        return [ops.reshape(first, shapes[0].shape), ops.moveaxis(columns, 0, -2)]

    def _matrix(self, kernel: np.ndarray, gain: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
        rows, columns = self._sides(kernel.shape)
        matrix = kernel.transpose(self._order(kernel.ndim - 2)).reshape(rows, columns)
        return matrix, None if gain is None else np.tile(gain, columns // kernel.shape[-1])

    def _factorize(self, kernel: np.ndarray, rank: int, gain: np.ndarray | None) -> Chain:
        shapes = self._factor_shapes(kernel.shape, rank)
        matrix, scale = self._matrix(kernel, gain)
        first, second = truncated_pair(matrix, rank, scale)
        sizes = shapes[1].shape[:-2]
        second = np.moveaxis(second.reshape(rank, *sizes, kernel.shape[-1]), 0, -2)
        return Factor(first.reshape(shapes[0].shape), shapes[0].spatial_axes), Factor(second, shapes[1].spatial_axes)

    def _spectrum(self, kernel: np.ndarray, gain: np.ndarray | None) -> np.ndarray:
        return singular_values(*self._matrix(kernel, gain))
