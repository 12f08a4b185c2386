"""What the engines work on: a matrix whose columns are scaled, and what they give back."""

from collections.abc import Callable
from typing import NamedTuple

import keras
from keras import ops


def precision(tensor) -> float:
    """Returns the distance from 1 to the next larger number of a tensor's type."""
    return 2.0**-52 if keras.backend.standardize_dtype(tensor.dtype) == "float64" else 2.0**-23


def working_type(tensor) -> str:
    """Returns the type to decompose a tensor in: half precisions have no decompositions."""
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    return dtype if dtype in ("float32", "float64") else "float32"


def transposed(tensor):
    """Returns a batch of matrices with rows and columns exchanged."""
    return ops.swapaxes(tensor, -1, -2)


def energy(tensor):
    """Returns the squared Frobenius norms `(...,)` of a batch of matrices."""
    return ops.sum(ops.square(tensor), axis=(-2, -1))


def diagonal(tensor):
    """Returns the diagonals of a batch of square matrices."""
    return ops.diagonal(tensor, axis1=-2, axis2=-1)


def unit_scale(tensor, axes):
    """Divides a tensor by its largest magnitude over `axes`, so that squares neither overflow nor underflow.

    Args:
        tensor: Any floating tensor.
        axes: Axes to take the largest magnitude over.

    Returns:
        The tensor scaled to a largest magnitude of one; zeros stay zeros.
    """
    largest = ops.max(ops.abs(tensor), axis=axes, keepdims=True)
    return tensor / ops.where(largest > 0, largest, ops.ones_like(largest))


def leading(vectors, rank):
    """Returns the first columns of bases whose columns are sorted by their energy, the largest first.

    Args:
        vectors: Tensor `(..., n, k)`.
        rank: Their number: an int; or a tensor `(...)` of ints, where all columns stay and those beyond the rank are zero.

    Returns:
        Tensor `(..., n, rank)` or `(..., n, k)`.
    """
    return vectors[..., :rank] if isinstance(rank, int) else vectors * _first(vectors, rank)


def _first(vectors, rank):
    """Returns ones for the first `rank (...)` columns, zeros for the others: `(..., 1, k)`."""
    return ops.cast(ops.arange(vectors.shape[-1]) < rank[..., None], vectors.dtype)[..., None, :]


def leading_eigenpairs(gram, rank) -> tuple:
    """Returns the largest eigenvalues of symmetric matrices and their eigenvectors, in any order.

    Args:
        gram: Tensor `(..., n, n)`.
        rank: Their number: an int; or a tensor `(...)` of ints, where all stay and those beyond the rank are zero.

    Returns:
        Tensors `(..., rank)` and `(..., n, rank)`, or `(..., n)` and `(..., n, n)`; the least of these values; the sum of the
        others.
    """
    values, vectors = ops.eigh(gram)  # in ascending order; to turn that round would copy
    total, size = ops.sum(values, axis=-1), values.shape[-1]
    if isinstance(rank, int):
        largest = values[..., size - rank :]
        return largest, vectors[..., size - rank :], largest[..., 0], total - ops.sum(largest, axis=-1)
    chosen = ops.arange(size) >= size - rank[..., None]
    mask = ops.cast(chosen, values.dtype)
    least = ops.min(ops.where(chosen, values, values[..., -1:]), axis=-1)
    return values * mask, vectors * mask[..., None, :], least, total - ops.sum(values * mask, axis=-1)


# The error that may come on top of the best one, as shares of the norm; in float64 and in float32.
_TOLERANCE = (1e-12, 9.5e-6)


class Weighted:
    """A batch of matrices `K (..., p, m)` and the gain `g (..., m)` of their columns; `M = K · diag(g)`.

    The *smaller side* is the one that the Gram matrix of least size is over: the columns of a *tall* matrix (`p > m`), else the
    rows.

    Attributes:
        matrix: `K`.
        gain: `g` divided by its largest magnitude, or `None` for ones; a gain of zeros alone, such as a zero-initialised `γ`,
            counts as ones.
        tall: Whether there are more rows than columns.

    Args:
        matrix: `K`.
        gain: `g`, or `None` for ones.
        scale: Returns what multiplies the columns of the projection, a tensor `(..., m)` or `(..., 1)`, from its `energies` and
            `totals`; `None` for ones. It goes to the smaller factor of the product, which saves going through the larger.
    """

    def __init__(self, matrix, gain=None, scale: Callable | None = None):
        self.matrix = matrix
        self.scale = scale
        self.gain = None
        self.tall = matrix.shape[-2] > matrix.shape[-1]
        if gain is not None:
            unit = unit_scale(ops.cast(gain, matrix.dtype), (-1,))
            vanishes = ops.max(ops.abs(unit), axis=-1, keepdims=True) == 0
            self.gain = ops.where(vanishes, ops.ones_like(unit), unit)

    @property
    def smaller(self) -> int:
        """The size of the smaller side, which is the full rank."""
        return min(self.matrix.shape[-2:])

    def columns(self, matrix):
        """Returns a matrix `(..., n, m)` times `diag(g)`."""
        return matrix if self.gain is None else matrix * self.gain[..., None, :]

    def rows(self, matrix):
        """Returns `diag(g)` times a matrix `(..., m, n)`."""
        return matrix if self.gain is None else matrix * self.gain[..., :, None]

    def unit(self) -> "Weighted":
        """Returns the same with `K` and `M` of largest magnitude one."""
        unit = Weighted(unit_scale(self.matrix, (-2, -1)))
        if self.gain is not None:
            largest = ops.max(ops.abs(self.columns(unit.matrix)), axis=(-2, -1), keepdims=True)[..., 0]
            unit.gain = self.gain / ops.where(largest > 0, largest, ops.ones_like(largest))
        return unit

    def column_energies(self):
        """Returns the squared norms `(..., m)` of the columns of `K`."""
        return ops.sum(ops.square(self.matrix), axis=-2)


class Gram:
    """The Gram matrix over the smaller side of a weighted matrix; finite, whatever the matrix.

    Attributes:
        plain: `KᵀK` of a tall matrix, without the gain; else `None`.
        matrix: `MᵀM` of a tall matrix, else `MMᵀ`.
        trace: `‖M‖²`.
        norm: `‖matrix‖`.
    """

    def __init__(self, weighted: Weighted):
        matrix = weighted.matrix
        self.plain = None
        if weighted.tall:
            self.plain = finite(ops.matmul(transposed(matrix), matrix))
            self.matrix = weighted.rows(weighted.columns(self.plain))
        else:
            scaled = matrix if weighted.gain is None else matrix * ops.square(weighted.gain)[..., None, :]
            self.matrix = finite(ops.matmul(scaled, transposed(matrix)))
        self.trace = ops.sum(diagonal(self.matrix), axis=-1)
        self.norm = ops.sqrt(energy(self.matrix))


def finite(gram):
    """Returns a batch of matrices with zeros in the place of one that is not finite: decompositions fail on such."""
    is_finite = ops.isfinite(ops.sum(gram, axis=(-2, -1), keepdims=True))
    return ops.where(is_finite, gram, ops.zeros_like(gram))


class Projected(NamedTuple):
    """A projection of weighted matrices.

    Attributes:
        matrix: `P = Q Qᵀ K (..., p, m)`, of low rank, times the scale of its columns.
        energies: Squared norms `(..., m)` of the columns of `P` without that scale, up to a positive factor.
        totals: Those of `K`, up to the same factor.
        basis: An orthonormal basis `(..., s, r)` of the subspace over the smaller side, by which a later search may start.
    """

    matrix: object
    energies: object
    totals: object
    basis: object


def project_rows(weighted: Weighted, basis, *, unit: Weighted | None = None, start=None) -> Projected:
    """Projects onto a basis of the rows: `P = U (Uᵀ K)`.

    Args:
        weighted: The matrices.
        basis: Orthonormal `U (..., p, r)`.
        unit: The matrices to measure the energies on, where those would overflow.
        start: The basis to return; `U` by default.

    Returns:
        The projection.
    """
    rows = ops.matmul(transposed(basis), weighted.matrix)
    measured = weighted if unit is None else unit
    small = rows if unit is None else ops.matmul(transposed(basis), unit.matrix)
    energies, totals = ops.sum(ops.square(small), axis=-2), measured.column_energies()
    if weighted.scale is not None:
        rows = rows * weighted.scale(energies, totals)[..., None, :]
    return Projected(ops.matmul(basis, rows), energies, totals, basis if start is None else start)


def project_columns(weighted: Weighted, gram: Gram, basis, response, weights) -> Projected:
    """Projects tall matrices onto the span of `M V`, without forming a basis of it: `P = K · diag(g) V · Wᵀ`.

    With `Y = KᵀM V`, which follows from the Gram matrix, and `S = Vᵀ MᵀM V`, `P = M V S⁻¹ (M V)ᵀ K` needs `W = Y S⁻¹` alone.

    Args:
        weighted: The matrices.
        gram: Their Gram matrices.
        basis: `V (..., m, r)`.
        response: `Y (..., m, r)`.
        weights: `W (..., m, r)`.

    Returns:
        The projection, with `V` as its basis.
    """
    energies, totals = ops.sum(response * weights, axis=-1), diagonal(gram.plain)
    if weighted.scale is not None:
        weights = weights * weighted.scale(energies, totals)[..., :, None]
    right = weighted.rows(basis)
    if 2 * basis.shape[-1] < basis.shape[-2]:
        projected = ops.matmul(ops.matmul(weighted.matrix, right), transposed(weights))
    else:
        projected = ops.matmul(weighted.matrix, ops.matmul(right, transposed(weights)))
    return Projected(projected, energies, totals, basis)


def is_reliable(trace, norm, least, cut, *, rounding: float, loss=0.0):
    """Returns whether a subspace from a Gram matrix is as good as the best one, for each of a batch.

    Rounding moves the Gram matrix by about `ε ‖G‖`, and so a direction of singular value `σ` by `ε ‖G‖ / σ`. Together with
    the `loss` of energy of a search that has not converged, this may add to the error `√cut` of the best subspace no more than
    a few millionths of the norm.

    Args:
        trace: `‖M‖²`, the trace of the Gram matrix.
        norm: `‖G‖`, its norm.
        least: The least eigenvalue that was kept.
        cut: The energy that was cut.
        rounding: How many units of rounding an engine is off: a bound of what was measured on spectra of all kinds.
        loss: A bound of the energy that the best subspace would keep beyond this one.

    Returns:
        Booleans `(...,)`; false as well where squaring has overflowed or underflowed.
    """
    epsilon = precision(trace)
    noise = ops.square(rounding * epsilon * norm) / ops.maximum(least, 1e-30)
    cut = ops.maximum(cut, 0.0)
    excess = ops.sqrt(cut + loss + noise) - ops.sqrt(cut)
    tolerance = _TOLERANCE[epsilon > 1e-10] * ops.sqrt(trace)
    in_range = ops.logical_and(trace > 1e-25, norm < 1e15)
    return ops.logical_and(in_range, ops.logical_and(least > 0, excess <= tolerance))
