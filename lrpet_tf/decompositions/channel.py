"""Channel decomposition: `kh×kw, in → r`, then `1×1, r → out`.

The kernel is read as the matrix of `kh·kw·in` rows and `out` columns. Jaderberg et al. 2014 (arXiv 1405.3866), Zhang et al.
2016 (arXiv 1505.06798); it is the form that LRPET (arXiv 2204.05566) trains.
"""

import math

import numpy as np
from keras import ops

from lrpet_tf.decompositions.base import Decomposition
from lrpet_tf.linalg import (
    Chain,
    Factor,
    FactorShape,
    Truncated,
    singular_values,
    truncate_and_measure,
    truncated_pair,
)


class ChannelDecomposition(Decomposition):
    """`K = A · B` over the output channels; it pays when `r < p·m / (p + m)`, with `p = kh·kw·in` and `m = out`."""

    name = "channel"

    def max_rank(self, shape: tuple[int, int, int, int]) -> int:
        """Returns `min(kh·kw·in, out)`."""
        return min(math.prod(shape[:3]), shape[3])

    def factor_shapes(self, shape: tuple[int, int, int, int], rank: int) -> tuple[FactorShape, ...]:
        """Returns `(kh, kw, in, rank)`, which owns both spatial axes, and `(1, 1, rank, out)`."""
        return FactorShape((*shape[:3], rank), (0, 1)), FactorShape((1, 1, rank, shape[3]), ())

    def project(self, kernel, rank: int, gain=None, **options) -> Truncated:
        """Truncates the matrix of the kernel; see `Decomposition.project`."""
        matrix, kept = truncate_and_measure(ops.reshape(kernel, (-1, kernel.shape[-1])), rank, gain=gain, **options)
        return Truncated(ops.reshape(matrix, kernel.shape), kept)

    def factorize(self, kernel: np.ndarray, rank: int, gain: np.ndarray | None = None) -> Chain:
        """Splits the matrix of the kernel into balanced factors; see `Decomposition.factorize`."""
        first, second = truncated_pair(kernel.reshape(-1, kernel.shape[-1]), rank, gain)
        return Factor(first.reshape(*kernel.shape[:3], rank), (0, 1)), Factor(second[None, None], ())

    def spectrum(self, kernel: np.ndarray, gain: np.ndarray | None = None) -> np.ndarray:
        """Returns the singular values of the matrix of the kernel; see `Decomposition.spectrum`."""
        return singular_values(kernel.reshape(-1, kernel.shape[-1]), gain)
