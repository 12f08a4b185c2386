"""What a decomposition is."""

import abc
from typing import NamedTuple

import numpy as np
from keras import ops

from lrpet_tf.linalg import Chain, Factor, FactorShape, KernelShape, Truncated, energy, split_groups, unit_scale


class Cut(NamedTuple):
    """A matrix as which a kernel is read, and the rank to which it is cut."""

    rows: int
    columns: int
    rank: int


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
    def _project(self, kernels, rank, gains, starts: tuple, **options) -> Truncated:
        """Projects kernels of one group each.

        Args:
            kernels: Tensor `(n, *spatial sizes, in, out)`.
            rank: See `project_batch`.
            gains: Tensor `(n, out)` or `None`.
            starts: See `project_batch`.
            **options: See `project`.

        Returns:
            A tensor of the same shape, the shares `(n,)` of the energy that were kept, and the next starts.
        """

    @abc.abstractmethod
    def _cuts(self, shape: KernelShape, rank: int) -> tuple[Cut, ...]:
        """Returns `cuts` of one group."""

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
        gains = None if gain is None else ops.expand_dims(gain, 0)
        kernels = ops.expand_dims(ops.convert_to_tensor(kernel), 0)
        matrix, energy_kept, starts = self.project_batch(kernels, rank, gains, groups=groups, **options)
        return Truncated(matrix[0], energy_kept[0], starts)

    def project_batch(self, kernels, rank, gains=None, *, groups: int = 1, starts: tuple = (), **options) -> Truncated:
        """Projects kernels of one shape in one call.

        Args:
            kernels: Tensor `(n, *spatial sizes, in, out)`.
            rank: See `project`; or a tensor `(n,)` of ints, for ranks that change while a compiled function stays the same.
            gains: Tensor `(n, out)` or `None`.
            groups: See `project`.
            starts: Zeros of `start_shapes`, or what an earlier call with this rank has returned in `starts`, for the engine
                that starts from there.
            **options: See `project`.

        Returns:
            The kernels, the shares `(n,)` of their energies that were kept, and where to start the next time.
        """
        if groups == 1:
            return self._project(kernels, rank, gains, starts, **options)
        shape = kernels.shape
        parts = (shape[0], groups, *shape[1:-1], shape[-1] // groups)
        split = ops.moveaxis(ops.reshape(kernels, (*shape[:-1], groups, parts[-1])), -2, 1)
        blocks = ops.reshape(split, (-1, *parts[2:]))
        scales = None if gains is None else ops.reshape(gains, (-1, parts[-1]))
        rank = rank if isinstance(rank, int) else ops.repeat(rank, groups)
        projected, kept, starts = self._project(blocks, rank, scales, starts, **options)
        whole = ops.reshape(ops.moveaxis(ops.reshape(projected, parts), 1, -2), shape)
        shares = ops.reshape(kept, parts[:2]) * _shares_of_energy(ops.reshape(blocks, (*parts[:2], -1, parts[-1])), scales)
        return Truncated(whole, ops.sum(shares, axis=-1), starts)

    def start_shapes(self, count: int, shape: KernelShape, rank: int, groups: int = 1) -> tuple[tuple[int, ...], ...]:
        """Returns the shapes of `starts` for `count` kernels of a shape."""
        return tuple((count * groups, min(cut.rows, cut.columns), cut.rank) for cut in self.cuts(shape, rank, groups))

    def cuts(self, shape: KernelShape, rank: int, groups: int = 1) -> tuple[Cut, ...]:
        """Returns the matrices that a projection cuts, and the rank that it leaves each."""
        return self._cuts(_group_shape(shape, groups), rank)

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


def _shares_of_energy(blocks, gains):
    """Returns the shares `(n, groups)` that the groups have of the energies of kernels, as their gains scale them.

    Args:
        blocks: Tensor `(n, groups, rows, columns)`.
        gains: Tensor `(n * groups, columns)` or `None`.
    """
    blocks = ops.cast(blocks, "float32")
    if gains is not None:
        blocks = blocks * ops.reshape(ops.cast(gains, "float32"), (*blocks.shape[:2], 1, -1))
    energies = energy(unit_scale(blocks, (1, 2, 3)))
    total = ops.sum(energies, axis=-1, keepdims=True)
    return ops.where(total > 0, energies / ops.where(total > 0, total, 1.0), 1.0 / blocks.shape[1])
