"""The top singular subspace of a matrix whose columns may be scaled."""

import numbers

from keras import ops

from lrpet_tf.linalg.engines import project, validate_engine
from lrpet_tf.linalg.rank import resolve_rank
from lrpet_tf.linalg.weighted import Weighted, leading


def top_subspace(matrix, rank: int, gain=None, *, engine: str = "auto"):
    """Returns a basis of the subspace that captures most of `matrix · diag(gain)`.

    The basis `Q` solves `argmin ‖M − Q Qᵀ M‖` over orthonormal `Q` of `rank` columns, with `M = matrix · diag(gain)`
    (Eckart & Young 1936).

    Args:
        matrix: Tensor `(..., p, m)`, float32 or float64.
        rank: Number of basis vectors: from 1 to `min(p, m)`, or a share of that as a float in (0, 1].
        gain: Tensor `(..., m)` that scales the columns, of any sign and zero included; `None` for ones.
        engine: See `truncate`.

    Returns:
        Tensor `(..., p, rank)` with orthonormal columns.

    Raises:
        RankError: `rank` is neither.
        ValueError: `engine` is unknown.
    """
    return find_subspace(matrix, rank, gain, engine=engine)[0]


def find_subspace(matrix, rank, gain=None, *, engine: str = "auto", start=None) -> tuple:
    """Returns a basis as `top_subspace` does, and the basis to start from the next time.

    Args:
        matrix: See `top_subspace`.
        rank: See `top_subspace`; or a tensor `(...)` of ints, with zero vectors beyond the rank.
        gain: See `top_subspace`.
        engine: See `top_subspace`.
        start: See `truncate_and_measure`.

    Returns:
        Tensors `(..., p, rank)` and `(..., min(p, m), rank)`.
    """
    matrix = ops.convert_to_tensor(matrix)
    if isinstance(rank, numbers.Number):
        rank = resolve_rank(rank, min(matrix.shape[-2:]))
    validate_engine(engine)
    weighted = Weighted(matrix, gain)
    found = project(weighted, rank, engine, start).basis
    if not weighted.tall:
        return found, found
    unit = weighted.unit()
    # Householder QR keeps the columns orthonormal where singular values vanish; dividing by them would not.
    basis, _ = ops.qr(ops.matmul(unit.columns(unit.matrix), found))
    return basis if isinstance(rank, int) else leading(basis, rank), found
