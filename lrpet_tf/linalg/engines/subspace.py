"""Block power iteration on the smaller Gram matrix from the basis of the last projection.

Between two projections of a training a kernel moves little, and it was of low rank: a step or two from the old basis are then
as good as an eigen-decomposition, at the price of a few small products (Halko, Martinsson & Tropp 2011, arXiv 0909.4061,
section 4.5, for the iteration; Parlett, The Symmetric Eigenvalue Problem, chapter 11, for the residual bounds).
"""

from typing import NamedTuple

from keras import ops

from lrpet_tf.linalg.branching import loop
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

# With so many steps an eigen-decomposition would have been as cheap.
STEPS = 4
# A step must leave at most that share of what the last one has left; the bound is loose while the basis is far off.
_CONTRACTION, _FIRST_CONTRACTION = 0.5, 4.0


class _Step(NamedTuple):
    """One step of the iteration, and what its residual tells.

    Attributes:
        reliable: Booleans `(...,)`, whether the subspace is as good as the best one.
        converges: Booleans `(...,)`, whether a further step gains much.
        start: The orthonormal basis `V (..., s, r)` that it began with.
        response: `G V`, without the left gain.
        weights: `G V S⁻¹` with `S = Vᵀ G V`, without the left gain.
        basis: `G V S⁻¹`, a better basis: orthonormal up to the square of how far it has moved.
    """

    reliable: object
    converges: object
    start: object
    response: object
    weights: object
    basis: object


def project(weighted: Weighted, start, gram: Gram) -> tuple:
    """Projects by the iteration, which stops when a test of its residual passes.

    About `p m² + 2 p m r + (m² r + 7 m r²) · steps` multiply-adds for `p ≥ m`, the first product given, and as a rule one
    or two steps. The residual bounds what the best subspace would keep beyond this one; the accuracy is that of the
    eigen-decomposition wherever the test passes. It gives up where the spectrum is too flat for it, and after `STEPS` steps.

    Args:
        weighted: The matrices.
        start: Nearly orthonormal bases `(..., s, r)` over the smaller side; zeros never pass the test.
        gram: Their Gram matrices.

    Returns:
        Booleans `(...,)`, whether the projection is as good as the best one, and the projection.
    """

    def unfinished(*state):
        step = _Step(*state)
        return ops.logical_and(ops.logical_not(ops.all(step.reliable)), ops.all(step.converges))

    def further(*state):
        return _step(weighted, gram, _Step(*state).basis, _CONTRACTION)

    first = _step(weighted, gram, start, _FIRST_CONTRACTION)
    last = _Step(*loop(unfinished, further, first, STEPS - 1))
    if weighted.tall:
        projected = project_columns(weighted, gram, last.start, last.response, last.weights)
        return last.reliable, projected._replace(basis=last.basis)
    return last.reliable, project_rows(weighted, _orthonormal(last.basis)[0])


def _step(weighted: Weighted, gram: Gram, start, patience: float) -> _Step:
    """Takes a step; it `converges` where what is left contracts by the factor `patience` at least."""
    start, deviation = _orthonormal(start)
    response = ops.matmul(gram.plain, weighted.rows(start)) if weighted.tall else ops.matmul(gram.matrix, start)
    image = weighted.rows(response) if weighted.tall else response  # G V
    ritz = ops.matmul(transposed(start), image)  # S = Vᵀ G V
    inverse = _inverse(ritz, gram)
    weights = ops.matmul(response, inverse)
    after = weighted.rows(weights) if weighted.tall else weights  # G V S⁻¹ = V + residual S⁻¹
    moved = after - start

    # Two bounds of the norm of S⁻¹; the second is close while the basis is near to eigenvectors, which it begins as.
    largest = ops.minimum(ops.sqrt(energy(inverse)), ops.max(ops.sum(ops.abs(inverse), axis=-1), axis=-1))
    least = 1.0 / ops.maximum(largest, 1e-30)  # at most the least eigenvalue of S
    outside = gram.trace - ops.sum(diagonal(ritz), axis=-1)
    largest_outside = ops.minimum(outside, ops.sqrt(ops.maximum(ops.square(gram.norm) - energy(ritz), 0.0)))
    contraction = ops.maximum(largest_outside, 0.0) / least
    # What the start itself loses to the best subspace, to second order; the step multiplies it by the contraction.
    loss = ops.maximum(ops.sum(moved * image, axis=(-2, -1)), 0.0) / ops.maximum(1.0 - contraction, 0.5)
    gained = contraction if weighted.tall else ops.square(contraction)
    cut = outside - loss - deviation * gram.trace
    reliable = is_reliable(gram.trace, gram.norm, least, cut, rounding=2.0, loss=loss * gained)
    near = ops.logical_and(energy(moved) < 1e-3, deviation < 1e-3)
    reliable = ops.logical_and(reliable, ops.logical_and(near, contraction < _CONTRACTION))
    return _Step(reliable, contraction < patience, start, response, weights, after)


def _inverse(ritz, gram: Gram):
    """Returns the inverse of `S`: by Cholesky of `S` and a little more, which a step of Newton's method takes away again."""
    identity = ops.eye(ritz.shape[-1], dtype=ritz.dtype)
    jitter = 32.0 * precision(ritz) * gram.norm + 1e-30
    factor = ops.cholesky(ritz + jitter[..., None, None] * identity)
    half = ops.solve_triangular(factor, ops.broadcast_to(identity, ritz.shape), lower=True)
    inverse = ops.matmul(transposed(half), half)
    return 2.0 * inverse - ops.matmul(inverse, ops.matmul(ritz, inverse))


def _orthonormal(basis) -> tuple:
    """Returns a nearly orthonormal basis made more so by a step of Newton's and Schulz's, and how far it is off after it."""
    overlap = ops.matmul(transposed(basis), basis)
    identity = ops.eye(overlap.shape[-1], dtype=overlap.dtype)
    return 1.5 * basis - 0.5 * ops.matmul(basis, overlap), 0.75 * energy(overlap - identity)
