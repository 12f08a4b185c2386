"""Block power iteration on the smaller Gram matrix from the basis of the last projection.

Between two projections of a training a kernel moves little, and it was of low rank: one step from the old basis is then as good
as an eigen-decomposition, at the price of a few small products (Halko, Martinsson & Tropp 2011, arXiv 0909.4061, section 4.5,
for the iteration; Parlett, The Symmetric Eigenvalue Problem, chapter 11, for the residual bounds).
"""

from keras import ops

from lrpet_tf.linalg.weighted import (
    Gram,
    Weighted,
    diagonal,
    energy,
    is_reliable,
    precision,
    project_columns,
    project_rows,
    transposed,
)


def project(weighted: Weighted, start, gram: Gram) -> tuple:
    """Projects by one step of the iteration, and tests by its residual whether that was enough.

    About `p m² + 2 p m r + m² r + 5 m r²` multiply-adds for `p ≥ m`, the first product given. The residual bounds what the best
    subspace would keep beyond this one; the accuracy is that of the eigen-decomposition wherever the test passes.

    Args:
        weighted: The matrices.
        start: Orthonormal bases `(..., s, r)` over the smaller side; zeros never pass the test.
        gram: Their Gram matrices.

    Returns:
        Booleans `(...,)`, whether the projection is as good as the best one, and the projection.
    """
    response = ops.matmul(gram.plain, weighted.rows(start)) if weighted.tall else ops.matmul(gram.matrix, start)
    image = weighted.rows(response) if weighted.tall else response  # G V
    ritz = ops.matmul(transposed(start), image)  # S = Vᵀ G V
    inverse = _inverse(ritz, gram)
    weights = ops.matmul(response, inverse)
    after = weighted.rows(weights) if weighted.tall else weights  # G V S⁻¹ = V + residual S⁻¹
    moved = after - start

    least = 1.0 / ops.maximum(ops.sqrt(energy(inverse)), 1e-30)  # at most the least eigenvalue of S
    outside = gram.trace - ops.sum(diagonal(ritz), axis=-1)
    largest_outside = ops.minimum(outside, ops.sqrt(ops.maximum(ops.square(gram.norm) - energy(ritz), 0.0)))
    contraction = ops.maximum(largest_outside, 0.0) / least
    # What the start itself loses to the best subspace, to second order; the step multiplies it by the contraction.
    loss = ops.maximum(ops.sum(moved * image, axis=(-2, -1)), 0.0) / ops.maximum(1.0 - contraction, 0.5)
    gained = contraction if weighted.tall else ops.square(contraction)
    reliable = is_reliable(gram.trace, gram.norm, least, outside - loss, rounding=2.0, loss=loss * gained)
    reliable = ops.logical_and(reliable, ops.logical_and(contraction < 0.5, energy(moved) < 0.01))

    after = _orthonormal(after)
    if weighted.tall:
        projected = project_columns(weighted, gram, start, response, weights)
        return reliable, projected._replace(basis=after)
    return reliable, project_rows(weighted, _orthonormal(after))


def _inverse(ritz, gram: Gram):
    """Returns the inverse of `S`: by Cholesky of `S` and a little more, which a step of Newton's method takes away again."""
    identity = ops.eye(ritz.shape[-1], dtype=ritz.dtype)
    jitter = 32.0 * precision(ritz) * gram.norm + 1e-30
    factor = ops.cholesky(ritz + jitter[..., None, None] * identity)
    half = ops.solve_triangular(factor, ops.broadcast_to(identity, ritz.shape), lower=True)
    inverse = ops.matmul(transposed(half), half)
    return 2.0 * inverse - ops.matmul(inverse, ops.matmul(ritz, inverse))


def _orthonormal(basis):
    """Returns a nearly orthonormal basis made more so: Newton and Schulz's step squares the deviation."""
    overlap = ops.matmul(transposed(basis), basis)
    return 1.5 * basis - 0.5 * ops.matmul(basis, overlap)
