"""What a decomposition is."""

import abc
import math

import numpy as np
from keras import ops

from lrpet_tf.linalg import Chain, Factor, FactorShape, KernelShape, Truncated, split_groups


class Decomposition(abc.ABC):
    """A way to write a kernel `(*spatial sizes, in, out)` as a chain of smaller kernels of one rank.

    `project` and `factorize` describe the same set of kernels: a projected kernel is recomposed exactly from its factors. A
    grouped kernel is decomposed group by group, each at the same rank. A new form implements the methods with an underscore,
    for one group.
    """

    name: str

    @abc.abstractmethod
    def _max_rank(self, shape: KernelShape) -> int:
        """Returns `max_rank` of one group."""

    @abc.abstractmethod
    def _factor_shapes(self, shape: KernelShape, rank: int) -> tuple[FactorShape, ...]:
        """Returns `factor_shapes` of one group."""

    @abc.abstractmethod
    def _project(self, kernels, rank: int, gains, **options) -> Truncated:
        """Projects the kernels of all groups, a tensor `(groups, *spatial sizes, in, out)`.

        Args:
            kernels: The kernels.
            rank: From 1 to `max_rank`.
            gains: Tensor `(groups, out)` or `None`.
            **options: See `project`.

        Returns:
            A tensor of the same shape, and the shares `(groups,)` of the energy that were kept.
        """

    @abc.abstractmethod
    def _factorize(self, kernel: np.ndarray, rank: int, gain: np.ndarray | None) -> Chain:
        """Returns `factorize` of one group."""

    @abc.abstractmethod
    def _factors(self, kernel, rank: int) -> list:
        """Returns the kernels of the chain of one group as tensors, without regard to any gain."""

    @abc.abstractmethod
    def _spectrum(self, kernel: np.ndarray, gain: np.ndarray | None) -> np.ndarray:
        """Returns `spectrum` of one group."""

    def is_distinct(self, shape: KernelShape) -> bool:
        """Returns whether this form differs from the channel form for kernels of this shape: only then `"auto"` weighs it."""
        return True

    def max_rank(self, shape: KernelShape, groups: int = 1) -> int:
        """Returns the full rank of a kernel of this shape: the rank at which nothing is lost."""
        return self._max_rank(_group_shape(shape, groups))

    def factor_shapes(self, shape: KernelShape, rank: int, groups: int = 1) -> tuple[FactorShape, ...]:
        """Returns the shapes of the chain that `factorize` gives, in the order of application."""
        found = self._factor_shapes(_group_shape(shape, groups), rank)
        return tuple(FactorShape((*factor.shape[:-1], groups * factor.shape[-1]), factor.spatial_axes) for factor in found)

    def project(self, kernel, rank: int, gain=None, *, groups: int = 1, **options) -> Truncated:
        """Returns the nearest kernel that a chain of this rank can be, on any backend, eager or compiled.

        Args:
            kernel: Tensor `(*spatial sizes, in, out)`.
            rank: From 1 to `max_rank`.
            gain: Tensor `(out,)`: what multiplies each output channel further on, or `None`.
            groups: Number of groups of the kernel.
            **options: `energy`, `tail`, `damping` and `engine` of `linalg.truncate`.

        Returns:
            The kernel, of the same shape, and the share of the energy that was kept.
        """
        kernel = ops.convert_to_tensor(kernel)
        outputs = kernel.shape[-1]
        split = ops.reshape(kernel, (*kernel.shape[:-1], groups, outputs // groups))
        kernels = ops.moveaxis(split, -2, 0) if groups > 1 else ops.expand_dims(kernel, 0)
        gains = None if gain is None else ops.reshape(gain, (groups, outputs // groups))
        projected, kept = self._project(kernels, rank, gains, **options)
        if groups == 1:
            return Truncated(projected[0], kept[0])
        whole = ops.reshape(ops.moveaxis(projected, 0, -2), kernel.shape)
        return Truncated(whole, ops.sum(kept * _shares_of_energy(kernels, gains)))

    def factorize(self, kernel: np.ndarray, rank: int, gain: np.ndarray | None = None, *, groups: int = 1) -> Chain:
        """Returns the chain of the nearest kernel of this rank, in float64.

        Args:
            kernel: Array `(*spatial sizes, in, out)`.
            rank: From 1 to `max_rank`.
            gain: Array `(out,)` or `None`.
            groups: Number of groups of the kernel.

        Returns:
            Factors whose composition is the projected kernel, without energy transfer.
        """
        chains = [self._factorize(each, rank, scale) for each, scale in _groups(kernel, gain, groups)]
        return tuple(
            Factor(np.concatenate([factor.kernel for factor in factors], axis=-1), factors[0].spatial_axes)
            for factors in zip(*chains, strict=True)
        )

    def factors(self, kernel, rank: int, *, groups: int = 1) -> list:
        """Returns the kernels of the chain as tensors, in the precision of the kernel, for layers that begin as factors.

        Args:
            kernel: Tensor `(*spatial sizes, in, out)`.
            rank: From 1 to `max_rank`.
            groups: Number of groups of the kernel.

        Returns:
            Tensors of the shapes of `factor_shapes`.
        """
        chains = [self._factors(each, rank) for each in ops.split(kernel, groups, axis=-1)]
        return [ops.concatenate(parts, axis=-1) for parts in zip(*chains, strict=True)]

    def spectrum(self, kernel: np.ndarray, gain: np.ndarray | None = None, *, groups: int = 1) -> np.ndarray:
        """Returns in float64 the values whose squares are the energy that each further rank adds.

        For forms that cut a single matrix these are its singular values, the largest first. Those of groups are summed as
        energies, since all groups are cut at the same rank.
        """
        spectra = [self._spectrum(each, scale) for each, scale in _groups(kernel, gain, groups)]
        return np.sqrt(np.sum(np.square(spectra), axis=0)) if groups > 1 else spectra[0]


def _group_shape(shape: KernelShape, groups: int) -> KernelShape:
    return (*shape[:-1], shape[-1] // groups)


def _groups(kernel: np.ndarray, gain: np.ndarray | None, groups: int):
    """Yields the kernel and the gain of each group."""
    gains = [None] * groups if gain is None else np.split(gain, groups)
    return zip(split_groups(np.asarray(kernel), groups), gains, strict=True)


def _shares_of_energy(kernels, gains):
    """Returns the shares `(groups,)` that the groups have of the energy of a kernel, as its gain scales it."""
    flat = ops.cast(ops.reshape(kernels, (kernels.shape[0], -1, kernels.shape[-1])), "float32")
    if gains is not None:
        flat = flat * ops.expand_dims(ops.cast(gains, "float32"), 1)
    largest = ops.max(ops.abs(flat))
    energies = ops.sum(ops.square(flat / ops.where(largest > 0, largest, 1.0)), axis=(1, 2))
    total = ops.sum(energies)
    return ops.where(total > 0, energies / ops.where(total > 0, total, 1.0), 1.0 / math.prod(energies.shape))
