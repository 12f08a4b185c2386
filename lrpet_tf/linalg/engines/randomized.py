"""Randomized range finder: for ranks that are a small share of the smaller side.

Halko, Martinsson & Tropp 2011 (arXiv 0909.4061), algorithms 4.4 and 5.1: a random block, a few power iterations with QR between
them, and a small eigen-decomposition inside the range that was found.
"""

import keras
from keras import ops

from lrpet_tf.linalg.weighted import (
    Weighted,
    energy,
    finite,
    is_reliable,
    leading_eigenpairs,
    project_rows,
    transposed,
)

# More vectors than asked for: with that many the range is found but for a share that vanishes (section 4.3 there).
OVERSAMPLING = 8
_ITERATIONS = 2


def project(weighted: Weighted, rank: int) -> tuple:
    """Projects onto a range that random combinations of the columns span.

    About `(7 + 2 i) p m r` multiply-adds with `i = 2` power iterations, and no Gram matrix. Accurate where the spectrum falls
    quickly behind the rank; on a flat one the residual test does not pass.

    Args:
        weighted: The matrices.
        rank: Number of directions, an int.

    Returns:
        Booleans `(...,)`, whether the projection is as good as the best one, and the projection.
    """
    matrix = weighted.matrix
    width = min(rank + OVERSAMPLING, weighted.smaller)
    block = keras.random.normal((*matrix.shape[:-2], matrix.shape[-1], width), dtype=matrix.dtype, seed=0)
    for _ in range(_ITERATIONS + 1):
        basis, _ = ops.qr(ops.matmul(matrix, weighted.rows(block)))
        block, _ = ops.qr(weighted.rows(ops.matmul(transposed(matrix), basis)))
    basis, _ = ops.qr(ops.matmul(matrix, weighted.rows(block)))
    scaled = weighted.columns(ops.matmul(transposed(basis), matrix))
    inside = finite(ops.matmul(scaled, transposed(scaled)))
    values, turn, least, rest = leading_eigenpairs(inside, rank)
    values = ops.maximum(values, 1e-30)
    basis = ops.matmul(basis, turn)
    # One more step from the basis: how far it moves bounds what the best subspace would keep beyond this one.
    right = weighted.rows(ops.matmul(transposed(scaled), turn))
    moved = ops.matmul(matrix, right) - basis * values[..., None, :]
    contraction = rest / values[..., 0]  # the largest value left out is at most their sum
    loss = ops.sum(ops.sum(ops.square(moved), axis=-2) / values, axis=-1) / ops.maximum(1.0 - contraction, 0.05)
    trace = energy(weighted.columns(matrix))
    cut = trace - ops.sum(values, axis=-1)
    reliable = is_reliable(trace, ops.sqrt(energy(inside)), least, cut - loss, rounding=9.0, loss=loss)
    start = right / ops.sqrt(values)[..., None, :] if weighted.tall else basis
    return reliable, project_rows(weighted, basis, start=start)
