"""Full singular value decomposition: the most accurate engine, and the slowest."""

from keras import ops

from lrpet_tf.linalg.weighted import Projected, Weighted, leading, project_rows, transposed


def project(weighted: Weighted, rank) -> Projected:
    """Projects by a full SVD of the scaled matrix.

    Accurate to rounding whatever the spectrum and the magnitude; about `4 p m² + 8 m³ + 2 p m r` multiply-adds for `p ≥ m`.

    Args:
        weighted: The matrices.
        rank: Number of directions, an int or a tensor of ints.

    Returns:
        The projection.
    """
    unit = weighted.unit()
    left, _, right = ops.svd(unit.columns(unit.matrix), full_matrices=False)
    basis = leading(left, rank)
    start = leading(transposed(right), rank) if weighted.tall else basis
    return project_rows(weighted, basis, unit=unit, start=start)
