"""Channel decomposition: `kh×kw, in → r`, then `1×1, r → out`.

The kernel is read as the matrix of `kh·kw·in` rows and `out` columns. Jaderberg et al. 2014 (arXiv 1405.3866), Zhang et al.
2016 (arXiv 1505.06798); it is the form that LRPET (arXiv 2204.05566) trains.
"""

from lrpet_tf.decompositions.matrix import MatrixDecomposition


class ChannelDecomposition(MatrixDecomposition):
    """`K = A · B` over the output channels; it pays when `r < p·m / (p + m)`, with `p = kh·kw·in` and `m = out`."""

    name = "channel"

    def _first_axes(self, count: int) -> tuple[int, ...]:
        return tuple(range(count))
