"""A decomposed kernel: a chain of smaller kernels, applied one after the other.

Kernels are in HWIO order: `(height, width, input channels, output channels)`. A Dense kernel is `(1, 1, in, out)`.
"""

from typing import NamedTuple

import numpy as np


class FactorShape(NamedTuple):
    """The shape of one kernel of a chain, HWIO, and the spatial axes (0 height, 1 width) that it owns.

    The factor that owns an axis takes the layer's stride, dilation and padding along it.
    """

    shape: tuple[int, int, int, int]
    spatial_axes: tuple[int, ...]


class Factor(NamedTuple):
    """One kernel of a chain: a NumPy array, HWIO, and the spatial axes (0 height, 1 width) that it owns."""

    kernel: np.ndarray
    spatial_axes: tuple[int, ...]


Chain = tuple[Factor, ...]


def compose(chain: Chain) -> np.ndarray:
    """Returns the single kernel that does what a chain does.

    Args:
        chain: Factors in the order in which they are applied; along each spatial axis at most one is longer than 1.

    Returns:
        Array `(height, width, input channels of the first, output channels of the last)`.
    """
    kernel = chain[0].kernel
    for factor in chain[1:]:
        height, width, inputs, _ = kernel.shape
        more_height, more_width, _, outputs = factor.kernel.shape
        product = np.einsum("hwir,HWro->hHwWio", kernel, factor.kernel)
        kernel = product.reshape(height * more_height, width * more_width, inputs, outputs)
    return kernel
