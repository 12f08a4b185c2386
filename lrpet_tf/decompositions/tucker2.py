"""Tucker-2 decomposition: `1×1, in → r₁`, then `kh×kw, r₁ → r₂`, then `1×1, r₂ → out`.

Kim et al. 2016 (arXiv 1511.06530). One rank `r` sets both: the larger side has rank `r`, the other one in proportion to its
full rank, rounded up, so that the full rank loses nothing.

The projection is the truncated higher-order SVD (De Lathauwer et al. 2000) of the kernel `M` as its batch norm scales it: with
the leading singular vectors `U` of the unfolding over the input channels, and those of the unfolding over the output channels,
`M ×_in UUᵀ ×_out VVᵀ`. It is exact as a projection: it needs no division by the scale, its error is known to the digit, and a
kernel that is of these ranks stays as it is. It is not the very nearest kernel of its ranks, which no formula gives: its
squared error is at most the sum of those of its two cuts, and so at most twice the least possible.
"""

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
    find_subspace,
    left_basis,
    transfer_energy,
    working_type,
)


class Tucker2Decomposition(Decomposition):
    """`K = core ×_in A ×_out B`; it pays when both channel ranks are well below the channels."""

    name = "tucker2"

    def is_distinct(self, shape: KernelShape) -> bool:
        """Returns whether the kernel has a spatial extent."""
        return max(shape[:-2], default=1) > 1

    def _full_ranks(self, shape: KernelShape) -> tuple[int, int]:
        *sizes, inputs, outputs = shape
        area = math.prod(sizes)
        return min(inputs, area * outputs), min(outputs, area * inputs)

    def _max_rank(self, shape: KernelShape) -> int:
        return max(self._full_ranks(shape))

    def ranks(self, shape: KernelShape, rank: int) -> tuple[int, int]:
        """Returns the ranks over the input and the output channels that one rank stands for."""
        full = self._full_ranks(shape)
        return tuple(-(-rank * each // max(full)) for each in full)

    def _factor_shapes(self, shape: KernelShape, rank: int) -> tuple[FactorShape, ...]:
        *sizes, inputs, outputs = shape
        first, second = self.ranks(shape, rank)
        ones, axes = (1,) * len(sizes), tuple(range(len(sizes)))
        return (
            FactorShape((*ones, inputs, first), ()),
            FactorShape((*sizes, first, second), axes),
            FactorShape((*ones, second, outputs), ()),
        )

    def _project(self, kernels, rank, gains, starts: tuple, *, engine: str = "auto", **options) -> Truncated:
        shape = kernels.shape
        *_, inputs, outputs = shape
        ranks, full = self.ranks(shape[1:], rank), self._full_ranks(shape[1:])
        working = ops.cast(ops.reshape(kernels, (shape[0], -1, outputs)), working_type(kernels))
        area = working.shape[1] // inputs
        by_input = ops.reshape(
            ops.moveaxis(ops.reshape(working, (shape[0], area, inputs, outputs)), 2, 1), (shape[0], inputs, -1)
        )
        first, second = starts or (None, None)
        kept = working
        if _is_cut(ranks[1], full[1]):
            basis, second = find_subspace(working, ranks[1], gains, engine=engine, start=second)
            kept = ops.matmul(basis, ops.matmul(ops.swapaxes(basis, -1, -2), kept))
        if _is_cut(ranks[0], full[0]):
            scales = None if gains is None else ops.tile(gains, (1, area))
            basis, first = find_subspace(by_input, ranks[0], scales, engine=engine, start=first)
            onto = ops.matmul(basis, ops.swapaxes(basis, -1, -2))  # (n, in, in)
            split = ops.reshape(kept, (shape[0], area, inputs, outputs))
            kept = ops.reshape(ops.matmul(ops.expand_dims(onto, 1), split), working.shape)
        projected, share, _ = transfer_energy(working, kept, gains, **options)
        return Truncated(ops.cast(ops.reshape(projected, shape), kernels.dtype), share, (first, second))

    def _cuts(self, shape: KernelShape, rank: int) -> tuple[Cut, ...]:
        *sizes, inputs, outputs = shape
        first, second = self.ranks(shape, rank)
        area = math.prod(sizes)
        return Cut(inputs, area * outputs, first), Cut(area * inputs, outputs, second)

    def _bases(self, kernel: np.ndarray, ranks: tuple[int, int], gain: np.ndarray | None):
        """Returns the bases of the rows over the input channels, and over all but the output channels."""
        *sizes, inputs, outputs = kernel.shape
        by_input = np.moveaxis(kernel, -2, 0).reshape(inputs, -1)
        scale = None if gain is None else np.tile(gain, math.prod(sizes))
        return left_basis(by_input, ranks[0], scale), left_basis(kernel.reshape(-1, outputs), ranks[1], gain)

    def _factorize(self, kernel: np.ndarray, rank: int, gain: np.ndarray | None) -> Chain:
        kernel = np.asarray(kernel, np.float64)
        *sizes, inputs, outputs = kernel.shape
        first, second = self.ranks(kernel.shape, rank)
        into, columns = self._bases(kernel, (first, second), gain)
        core = np.einsum("pir,ij->pjr", columns.reshape(-1, inputs, second), into)
        out = columns.T @ kernel.reshape(-1, outputs)
        ones, axes = (1,) * len(sizes), tuple(range(len(sizes)))
        # The second basis has orthonormal columns: balanced lengths leave each factor a third of the logarithm of the norm.
        third = np.cbrt(np.linalg.norm(out) / np.sqrt(max(second, 1))) if np.any(out) else 1.0
        return (
            Factor((third * into).reshape(*ones, inputs, first), ()),
            Factor((third * core).reshape(*sizes, first, second), axes),
            Factor((out / third**2).reshape(*ones, second, outputs), ()),
        )

    def _factors(self, kernel, rank: int) -> list:
        shapes = [factor.shape for factor in self._factor_shapes(kernel.shape, rank)]
        *sizes, inputs, outputs = kernel.shape
        first, second = self.ranks(kernel.shape, rank)
        by_output = ops.reshape(kernel, (-1, outputs))
        onto, rows = balanced_pair(by_output, second)
        by_input = ops.reshape(ops.moveaxis(ops.reshape(onto, (math.prod(sizes), inputs, second)), 1, 0), (inputs, -1))
        into, core = balanced_pair(by_input, first)
        core = ops.moveaxis(ops.reshape(core, (first, math.prod(sizes), second)), 0, 1)
        return [ops.reshape(part, shape) for part, shape in zip((into, core, rows), shapes, strict=True)]

    def _spectrum(self, kernel: np.ndarray, gain: np.ndarray | None) -> np.ndarray:
        scaled = np.asarray(kernel, np.float64)
        if gain is not None and np.any(gain):
            scaled = scaled * gain
        *_, inputs, outputs = scaled.shape
        full = self._full_ranks(scaled.shape)
        into = left_basis(np.moveaxis(scaled, -2, 0).reshape(inputs, -1), full[0])
        onto = left_basis(scaled.reshape(-1, outputs).T, full[1])
        core = np.einsum("pio,ij,or->pjr", scaled.reshape(-1, inputs, outputs), into, onto, optimize=True)
        captured = np.cumsum(np.cumsum(np.sum(core**2, axis=0), axis=0), axis=1)  # by rank in and rank out
        first, second = np.transpose([self.ranks(scaled.shape, rank) for rank in range(1, max(full) + 1)])
        return np.sqrt(np.maximum(np.diff(captured[first - 1, second - 1], prepend=0.0), 0.0))


def _is_cut(rank, full_rank: int) -> bool:
    """Returns whether a rank, an int or a tensor, may be under the full one."""
    return not isinstance(rank, int) or rank < full_rank
