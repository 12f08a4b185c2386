"""Decompositions in float64 with NumPy, for what is done once and must be exact: factorizing, and reading spectra."""

import numpy as np

# Above this smaller side the Gram matrix takes over: in float64 it is accurate to 1.5e-8 of the largest singular value,
# under the rounding of the float32 weights that are decomposed.
_SVD_UP_TO = 256


def _scaled(matrix, gain):
    matrix = np.asarray(matrix, np.float64)
    return matrix if gain is None or not np.any(gain) else matrix * np.asarray(gain, np.float64)


def left_basis(matrix: np.ndarray, rank: int, gain: np.ndarray | None = None) -> np.ndarray:
    """Returns the top left singular vectors of `matrix · diag(gain)` in float64.

    Args:
        matrix: Array `(p, m)`.
        rank: Number of vectors, from 1 to `min(p, m)`.
        gain: Array `(m,)` or `None`.

    Returns:
        Array `(p, rank)` with orthonormal columns.
    """
    scaled = _scaled(matrix, gain)
    if min(scaled.shape) <= _SVD_UP_TO:
        return np.linalg.svd(scaled, full_matrices=False)[0][:, :rank]
    if scaled.shape[0] <= scaled.shape[1]:
        return np.linalg.eigh(scaled @ scaled.T)[1][:, : -rank - 1 : -1]
    right = np.linalg.eigh(scaled.T @ scaled)[1][:, : -rank - 1 : -1]
    return np.linalg.qr(scaled @ right)[0]


def singular_values(matrix: np.ndarray, gain: np.ndarray | None = None) -> np.ndarray:
    """Returns the singular values of `matrix · diag(gain)` in float64, the largest first.

    Args:
        matrix: Array `(p, m)`.
        gain: Array `(m,)` or `None`.

    Returns:
        Array `(min(p, m),)`.
    """
    scaled = _scaled(matrix, gain)
    if min(scaled.shape) <= _SVD_UP_TO:
        return np.linalg.svd(scaled, compute_uv=False)
    gram = scaled @ scaled.T if scaled.shape[0] <= scaled.shape[1] else scaled.T @ scaled
    return np.sqrt(np.maximum(np.linalg.eigvalsh(gram)[::-1], 0.0))


def truncated_pair(matrix: np.ndarray, rank: int, gain: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Splits the rank-`rank` projection of a matrix into two balanced factors.

    With `Q` the top left singular vectors of `matrix · diag(gain)` and `Q Qᵀ matrix = U Σ Vᵀ`, the factors are `U √Σ` and
    `√Σ Vᵀ`: their product minimises the error of `matrix · diag(gain)` and their columns and rows are equally long.

    Args:
        matrix: Array `(p, m)`.
        rank: From 1 to `min(p, m)`.
        gain: Array `(m,)` or `None`.

    Returns:
        Arrays `(p, rank)` and `(rank, m)` in float64.
    """
    matrix = np.asarray(matrix, np.float64)
    basis = left_basis(matrix, rank, gain)
    rows = basis.T @ matrix
    if gain is not None:  # without a gain the basis holds singular vectors of the matrix itself
        rotation = np.linalg.eigh(rows @ rows.T)[1][:, ::-1]
        basis, rows = basis @ rotation, rotation.T @ rows
    # The product is the same whatever the rows are divided by: measured lengths do better than computed singular values.
    roots = np.sqrt(np.linalg.norm(rows, axis=1))
    return basis * roots, rows / np.where(roots > 0, roots, 1.0)[:, None]
