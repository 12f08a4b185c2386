"""Spatial decomposition: `kh×1, in → r`, then `1×kw, r → out`.

The kernel is read as the matrix of `kh·in` rows and `kw·out` columns (scheme 2 of Jaderberg et al. 2014, arXiv 1405.3866; Tai
et al. 2016, arXiv 1511.06067, solve it exactly by this SVD). Of three spatial axes the first factor takes the first.
"""

from lrpet_tf.decompositions.matrix import MatrixDecomposition
from lrpet_tf.linalg import KernelShape


class SpatialDecomposition(MatrixDecomposition):
    """`K = A · B` over height and width; for a `k×k` kernel of as many inputs as outputs it pays when `r < k·in / 2`."""

    name = "spatial"

    def is_distinct(self, shape: KernelShape) -> bool:
        """Returns whether both factors have a spatial extent."""
        return len(shape) > 3 and shape[0] > 1 and max(shape[1:-2]) > 1

    def _first_axes(self, count: int) -> tuple[int, ...]:
        return (0,) if count else ()
