"""A decomposed kernel: a chain of smaller kernels, applied one after the other.

Kernels are `(*spatial sizes, input channels, output channels)`: HWIO for images. A Dense kernel is `(1, 1, in, out)`. A grouped
kernel of `g` groups has the input channels of one group and the output channels of all, group after group, as in Keras; so have
all factors of its chain.
"""

import math
from typing import NamedTuple

import numpy as np

KernelShape = tuple[int, ...]


class FactorShape(NamedTuple):
    """The shape of one kernel of a chain, and the spatial axes (0 height, 1 width) that it owns.

    The factor that owns an axis takes the layer's stride, dilation and padding along it.
    """

    shape: KernelShape
    spatial_axes: tuple[int, ...]


class Factor(NamedTuple):
    """One kernel of a chain: a NumPy array, and the spatial axes (0 height, 1 width) that it owns."""

    kernel: np.ndarray
    spatial_axes: tuple[int, ...]


Chain = tuple[Factor, ...]


def whole(shape: KernelShape) -> tuple[FactorShape]:
    """Returns the chain of one that a kernel is before it is decomposed."""
    return (FactorShape(tuple(shape), tuple(range(len(shape) - 2))),)


def shapes_of(chain: Chain) -> tuple[FactorShape, ...]:
    """Returns the shapes of the factors of a chain."""
    return tuple(FactorShape(factor.kernel.shape, factor.spatial_axes) for factor in chain)


def split_groups(kernel: np.ndarray, groups: int) -> list[np.ndarray]:
    """Returns the kernels of the groups, each with its own output channels."""
    return np.split(kernel, groups, axis=-1)


def compose(chain: Chain, groups: int = 1) -> np.ndarray:
    """Returns the single kernel that does what a chain does.

    Args:
        chain: Factors in the order in which they are applied; along each spatial axis at most one is longer than 1.
        groups: Number of groups of every factor.

    Returns:
        Array `(*spatial sizes, input channels of the first, output channels of the last)`.
    """
    split = zip(*(split_groups(factor.kernel, groups) for factor in chain), strict=True)
    return np.concatenate([_compose(kernels) for kernels in split], axis=-1)


def _compose(kernels) -> np.ndarray:
    first, *rest = kernels
    for second in rest:
        count = first.ndim - 2
        product = np.tensordot(first, second, axes=(count + 1, count))  # first's sizes, in, second's sizes, out
        spatial = [axis for pair in zip(range(count), range(count + 1, 2 * count + 1), strict=True) for axis in pair]
        sizes = [math.prod(pair) for pair in zip(first.shape[:count], second.shape[:count], strict=True)]
        first = product.transpose(*spatial, count, 2 * count + 1).reshape(*sizes, first.shape[count], second.shape[-1])
    return first
