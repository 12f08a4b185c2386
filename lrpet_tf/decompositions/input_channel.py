"""Input-channel decomposition: `1×1, in → r`, then `kh×kw, r → out`.

The kernel is read as the matrix of `in` rows and `kh·kw·out` columns (scheme 2 of Jaderberg et al. 2014, arXiv 1405.3866,
without its spatial split; one side of Tucker-2). It suits layers with fewer input channels than outputs, and transposed
convolutions, whose large kernel then works on few channels.
"""

from lrpet_tf.decompositions.matrix import MatrixDecomposition
from lrpet_tf.linalg import KernelShape


class InputChannelDecomposition(MatrixDecomposition):
    """`K = A · B` over the input channels; it pays when `r < in·kh·kw·out / (in + kh·kw·out)` at stride 1."""

    name = "input_channel"

    def is_distinct(self, shape: KernelShape) -> bool:
        """Returns whether the kernel has a spatial extent."""
        return max(shape[:-2], default=1) > 1

    def _first_axes(self, count: int) -> tuple[int, ...]:
        return ()
