"""Eigen-decomposition of the smaller Gram matrix: far cheaper than an SVD when the matrix is large."""

from keras import ops

from lrpet_tf.linalg.weighted import (
    Gram,
    Weighted,
    is_reliable,
    kept,
    leading,
    precision,
    project_columns,
    project_rows,
    transposed,
)


def project(weighted: Weighted, rank, gram: Gram) -> tuple:
    """Projects by the eigenvectors of the smaller Gram matrix.

    About `p m² + 9 m³ + 2 p m r + m² r` multiply-adds for `p ≥ m`, the first product given. Squaring the matrix loses the
    directions whose singular values are under about `√ε ‖M‖` (3e-4 in float32): where one of them would be kept and matters, the
    projection says that it is not reliable.

    Args:
        weighted: The matrices.
        rank: Number of directions, an int or a tensor of ints.
        gram: Their Gram matrices.

    Returns:
        Booleans `(...,)`, whether the projection is as good as the best one, and the projection.
    """
    values, vectors = ops.eigh(gram.matrix)
    values, vectors = values[..., ::-1], vectors[..., ::-1]
    basis = leading(vectors, rank)
    positive = kept(values.shape[-1], rank, values.dtype)
    least = ops.min(ops.where(positive > 0, values, gram.trace[..., None]), axis=-1)
    cut = ops.sum(ops.where(positive > 0, ops.zeros_like(values), values), axis=-1)
    reliable = is_reliable(gram.trace, gram.norm, least, cut)
    if not weighted.tall:
        return reliable, project_rows(weighted, basis)
    response = ops.matmul(gram.plain, weighted.rows(basis))
    floor = precision(values) * gram.trace[..., None] + 1e-30
    inverse = 1.0 / ops.maximum(values[..., : basis.shape[-1]], floor)
    return reliable, project_columns(weighted, gram, basis, response, inverse[..., None] * transposed(response))
