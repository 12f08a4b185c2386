"""The top singular subspace of a matrix whose columns may be scaled."""

from keras import ops

from lrpet_tf.linalg.engines import ENGINES
from lrpet_tf.linalg.rank import resolve_rank

# Up to this smaller side an SVD costs next to nothing, and it is the more accurate engine.
_SVD_UP_TO = 128


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


def scaled_columns(matrix, gain):
    """Returns `matrix · diag(gain)` up to a positive factor, of magnitude about one.

    Args:
        matrix: Tensor `(..., p, m)`.
        gain: Tensor `(..., m)`, or `None` for ones; a gain of zeros alone, such as a zero-initialised `γ`, counts as ones.

    Returns:
        Tensor `(..., p, m)`.
    """
    matrix = unit_scale(matrix, (-2, -1))
    if gain is None:
        return matrix
    unit = unit_scale(gain, (-1,))
    vanishes = ops.max(ops.abs(unit), axis=-1, keepdims=True) == 0
    unit = ops.where(vanishes, ops.ones_like(unit), unit)
    return unit_scale(matrix * ops.expand_dims(unit, -2), (-2, -1))


def top_subspace(matrix, rank: int, gain=None, *, engine: str = "auto"):
    """Returns a basis of the subspace that captures most of `matrix · diag(gain)`.

    The basis `Q` solves `argmin ‖M − Q Qᵀ M‖` over orthonormal `Q` of `rank` columns, with `M = matrix · diag(gain)`
    (Eckart & Young 1936).

    Args:
        matrix: Tensor `(..., p, m)`, float32 or float64.
        rank: Number of basis vectors: from 1 to `min(p, m)`, or a share of that as a float in (0, 1].
        gain: Tensor `(..., m)` that scales the columns, of any sign and zero included; `None` for ones.
        engine: `"svd"`, `"gram"`, or `"auto"`: SVD up to a smaller side of 128, the Gram matrix above.

    Returns:
        Tensor `(..., p, rank)` with orthonormal columns.

    Raises:
        RankError: `rank` is neither.
        ValueError: `engine` is unknown.
    """
    matrix = ops.convert_to_tensor(matrix)
    if gain is not None:
        gain = ops.cast(gain, matrix.dtype)
    smaller = min(matrix.shape[-2:])
    rank = resolve_rank(rank, smaller)
    if engine == "auto":
        engine = "svd" if smaller <= _SVD_UP_TO else "gram"
    if engine not in ENGINES:
        raise ValueError(f"`engine` must be 'auto' or one of {sorted(ENGINES)}. Received: engine={engine!r}")
    return ENGINES[engine](scaled_columns(matrix, gain), rank)
