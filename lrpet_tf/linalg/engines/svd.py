"""Full singular value decomposition: the most accurate engine, and the slowest."""

from keras import ops


def top_subspace(matrix, rank: int):
    """Returns the leading left singular vectors by a full SVD.

    Accurate to rounding whatever the spectrum; about `4 p m² + 8 m³` multiply-adds for `p ≥ m`.

    Args:
        matrix: Tensor `(..., p, m)`.
        rank: Number of vectors, at most `min(p, m)`.

    Returns:
        Tensor `(..., p, rank)` with orthonormal columns.
    """
    left, _, _ = ops.svd(matrix, full_matrices=False)
    return left[..., :, :rank]
