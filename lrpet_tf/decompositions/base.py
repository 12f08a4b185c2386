"""What a decomposition is."""

import abc

import numpy as np

from lrpet_tf.linalg import Chain, FactorShape, Truncated


class Decomposition(abc.ABC):
    """A way to write a kernel `(kh, kw, in, out)` as a chain of smaller kernels of one rank.

    `project` and `factorize` describe the same set of kernels: a projected kernel is recomposed exactly from its factors.
    """

    name: str

    @abc.abstractmethod
    def max_rank(self, shape: tuple[int, int, int, int]) -> int:
        """Returns the full rank of a kernel of this shape: the rank at which nothing is lost."""

    @abc.abstractmethod
    def factor_shapes(self, shape: tuple[int, int, int, int], rank: int) -> tuple[FactorShape, ...]:
        """Returns the shapes of the chain that `factorize` gives, in the order of application."""

    @abc.abstractmethod
    def project(self, kernel, rank: int, gain=None, **options) -> Truncated:
        """Returns the nearest kernel that a chain of this rank can be, on any backend, eager or compiled.

        Args:
            kernel: Tensor `(kh, kw, in, out)`.
            rank: From 1 to `max_rank`.
            gain: Tensor `(out,)`: what multiplies each output channel further on, or `None`.
            **options: `energy`, `tail`, `damping` and `engine` of `linalg.truncate`.

        Returns:
            The kernel, of the same shape, and the share of the energy that was kept.
        """

    @abc.abstractmethod
    def factorize(self, kernel: np.ndarray, rank: int, gain: np.ndarray | None = None) -> Chain:
        """Returns the chain of the nearest kernel of this rank, in float64.

        Args:
            kernel: Array `(kh, kw, in, out)`.
            rank: From 1 to `max_rank`.
            gain: Array `(out,)` or `None`.

        Returns:
            Factors whose composition is the projected kernel, without energy transfer.
        """

    @abc.abstractmethod
    def spectrum(self, kernel: np.ndarray, gain: np.ndarray | None = None) -> np.ndarray:
        """Returns the singular values, the largest first, that a rank `r` keeps the first `r` of, in float64."""
