"""Eigen-decomposition of the smaller Gram matrix: far cheaper than an SVD when the matrix is large."""

from keras import ops

from lrpet_tf.linalg.weighted import (
    Gram,
    Weighted,
    is_reliable,
    leading_eigenpairs,
    precision,
    project_columns,
    project_rows,
)


def project(weighted: Weighted, rank, gram: Gram) -> tuple:
    """Projects by the eigenvectors of the smaller Gram matrix.

    About `p m² + 9 m³ + 2 p m r + m² r` multiply-adds for `p ≥ m`, the first product given. Squaring the matrix loses the
    directions whose singular values are under about `√ε ‖M‖` (3e-4 in float32): where one of them would be kept and matters,
    the projection says that it is not reliable.

    Args:
        weighted: The matrices.
        rank: Number of directions, an int or a tensor of ints.
        gram: Their Gram matrices.

    Returns:
        Booleans `(...,)`, whether the projection is as good as the best one, and the projection.
    """
    values, basis, least, cut = leading_eigenpairs(gram.matrix, rank)
    reliable = is_reliable(gram.trace, gram.norm, least, cut, rounding=9.0)
    if not weighted.tall:
        return reliable, project_rows(weighted, basis)
    response = ops.matmul(gram.plain, weighted.rows(basis))
    floor = precision(values) * gram.trace[..., None] + 1e-30
    weights = response / ops.maximum(values, floor)[..., None, :]
    return reliable, project_columns(weighted, gram, basis, response, weights)
