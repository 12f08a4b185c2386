"""Truncation of a matrix to a rank, with energy transfer: the arithmetic of LRPET (arXiv 2204.05566).

With `M = K · diag(g)` and `Q` its top-`r` left singular vectors, `P = Q Qᵀ K` needs no division by `g`, and `P · diag(g)` is
the best rank-`r` approximation of `M`. The result is `s · P + tail · (K − P)`, where `s` keeps the energy (the squared
Frobenius norm) of `M` or of `K`.
"""

import numbers
from typing import NamedTuple

from keras import ops

from lrpet_tf.linalg.engines import project, validate_engine
from lrpet_tf.linalg.rank import resolve_rank
from lrpet_tf.linalg.weighted import Weighted, unit_scale, working_type
from lrpet_tf.linalg.weighted import energy as _energy

ENERGY_MODES = ("merged", "raw", "none")


class Truncated(NamedTuple):
    """A truncated matrix, and what a training wants to know of it.

    Attributes:
        matrix: Tensor `(..., p, m)`.
        energy_kept: Share `(...,)` of the energy of `M` that its rank holds, in [0, 1].
        starts: The bases, a tuple of tensors, from which the `"subspace"` engine may start the next time.
    """

    matrix: object
    energy_kept: object
    starts: tuple = ()


def _transfer_scale(total, captured, tail: float):
    """Returns `s` of `s² · captured + tail² · (total − captured) = total`; 1 where nothing was captured."""
    some = captured > 0
    squared = (total - tail**2 * (total - captured)) / ops.where(some, captured, ops.ones_like(captured))
    return ops.where(some, ops.sqrt(squared), ops.ones_like(captured))


def validate_options(energy: str, tail: float, damping: float, engine: str = "auto") -> None:
    """Checks the options of `truncate`.

    Args:
        energy: See `truncate`.
        tail: See `truncate`.
        damping: See `truncate`.
        engine: See `truncate`.

    Raises:
        ValueError: One of them is out of its range.
    """
    validate_engine(engine)
    if energy not in ENERGY_MODES:
        raise ValueError(f"`energy` must be one of {ENERGY_MODES}. Received: energy={energy!r}")
    if not 0.0 <= tail <= 1.0:
        raise ValueError(f"`tail` must be in [0, 1]: the share of the cut part that stays. Received: tail={tail!r}")
    if not damping >= 0.0:
        raise ValueError(f"`damping` must be at least 0. Received: damping={damping!r}")


def truncate_and_measure(
    matrix,
    rank: int,
    *,
    gain=None,
    energy: str = "merged",
    tail: float = 0.0,
    damping: float = 0.0,
    engine: str = "auto",
    start=None,
) -> Truncated:
    """Truncates as `truncate` does, and returns the share of the energy kept as well.

    Args:
        matrix: See `truncate`.
        rank: See `truncate`; or a tensor of ints, one for each, for ranks that change while a compiled function stays the same.
        gain: See `truncate`.
        energy: See `truncate`.
        tail: See `truncate`.
        damping: See `truncate`.
        engine: See `truncate`.
        start: A basis that an earlier call with this rank has returned in `starts`, or zeros `(..., min(p, m), rank)`.

    Returns:
        The matrix, `‖Qᵀ M‖² / ‖M‖²` before any energy transfer (1 for a zero matrix), and the basis for a next call.

    Raises:
        RankError: `rank` is neither.
        ValueError: Another option is out of its range.
    """
    validate_options(energy, tail, damping, engine)
    matrix = ops.convert_to_tensor(matrix)
    full_rank = min(matrix.shape[-2:])
    if isinstance(rank, numbers.Number):
        rank = resolve_rank(rank, full_rank)
        if rank == full_rank and not (damping and gain is not None):
            starts = () if start is None else (start,)
            return Truncated(matrix, ops.ones_like(matrix[..., 0, 0]), starts)
    kernel = ops.cast(matrix, working_type(matrix))

    def scale(energies, totals):
        """Returns `s - tail`, and the damping: the result is `(s - tail) · P + tail · K`."""
        total, captured = _sums(energies, totals, squares if energy == "merged" else ops.ones_like(squares))
        factor = ops.ones_like(total) if energy == "none" else _transfer_scale(total, captured, tail)
        shares = 1.0
        if damping and gain is not None:
            squared = ops.square(ops.cast(gain, kernel.dtype))
            shares = squared / (squared + damping)
        return (factor - tail)[..., None] * shares

    weighted = Weighted(kernel, gain, None if energy == "none" and not tail and not damping else scale)
    squares = ops.ones_like(kernel[..., 0, :]) if weighted.gain is None else ops.square(weighted.gain)
    projected = project(weighted, rank, engine, start)
    total, captured = _sums(projected.energies, projected.totals, squares)
    some = total > 0
    share = ops.where(some, captured / ops.where(some, total, ops.ones_like(total)), ops.ones_like(total))
    result = projected.matrix + tail * kernel if tail else projected.matrix
    return Truncated(ops.cast(result, matrix.dtype), share, (projected.basis,))


def _sums(energies, totals, weights):
    """Returns the energy of the matrices and of their projections, with weights `(..., m)` for the columns."""
    total = ops.sum(weights * totals, axis=-1)
    return total, ops.minimum(ops.sum(weights * energies, axis=-1), total)


def transfer_energy(kernel, kept, gain=None, *, energy: str = "merged", tail: float = 0.0, damping: float = 0.0) -> Truncated:
    """Hands the energy of what is cut to what is kept, for a projection that is known already.

    `truncate` does it for the projection of one matrix, where the parts are orthogonal; this holds for any `P`: the result is
    `s · P + tail · (K − P)`, with the positive `s` that keeps the norm.

    Args:
        kernel: Tensor `K` of shape `(..., p, m)`, float32 or float64.
        kept: Tensor `P` of the same shape.
        gain: Tensor `(..., m)`: what multiplies each column further on; `None` for ones.
        energy: See `truncate`.
        tail: See `truncate`.
        damping: See `truncate`.

    Returns:
        The matrix, and `‖P · diag(gain)‖² / ‖K · diag(gain)‖²` (1 for a zero matrix).

    Raises:
        ValueError: An option is out of its range.
    """
    validate_options(energy, tail, damping)
    largest = ops.max(ops.abs(kernel), axis=(-2, -1), keepdims=True)
    unit = ops.where(largest > 0, largest, ops.ones_like(largest))
    scale = ops.ones_like(kernel[..., :1, :])
    if gain is not None:
        gain = ops.cast(gain, kernel.dtype)
        vanishes = ops.max(ops.abs(gain), axis=-1, keepdims=True) == 0
        scale = ops.expand_dims(ops.where(vanishes, ops.ones_like(gain), unit_scale(gain, (-1,))), -2)
    whole, part = kernel / unit * scale, kept / unit * scale
    total, captured = _energy(whole), _energy(part)
    share = ops.where(total > 0, captured / ops.where(total > 0, total, ops.ones_like(total)), ops.ones_like(total))
    if damping and gain is not None:
        squared = ops.square(gain)
        kept = kept * ops.expand_dims(squared / (squared + damping), -2)
    factor = ops.ones_like(share)
    if energy != "none":
        if energy == "raw":
            whole, part = kernel / unit, kept / unit
        factor = _norm_keeping_scale(_energy(whole), part, tail * (whole - part))
    result = kept * factor[..., None, None]
    return Truncated(result + tail * (kernel - kept) if tail else result, ops.minimum(share, ops.ones_like(share)))


def _norm_keeping_scale(total, part, rest):
    """Returns the positive `s` of `‖s · part + rest‖² = total`; 1 where there is no part."""
    captured, mixed, left = _energy(part), ops.sum(part * rest, axis=(-2, -1)), _energy(rest)
    some = captured > 0
    squared = ops.maximum(ops.square(mixed) + captured * (total - left), 0.0)
    return ops.where(some, (ops.sqrt(squared) - mixed) / ops.where(some, captured, ops.ones_like(captured)), 1.0)


def truncate(
    matrix,
    rank: int,
    *,
    gain=None,
    energy: str = "merged",
    tail: float = 0.0,
    damping: float = 0.0,
    engine: str = "auto",
):
    """Projects a matrix onto those of a rank, and hands the energy of what is cut to what is kept.

    `P = Q Qᵀ K`, with `Q` the top-`rank` left singular vectors of `M = K · diag(gain)`, solves
    `argmin ‖(P − K) · diag(gain)‖` over the matrices of that rank, for any gain, zero and negative included. Returned is
    `s · P + tail · (K − P)` with `s² = (‖M‖² − tail² ‖M − Q Qᵀ M‖²) / ‖Qᵀ M‖²`. At full rank nothing changes.

    Args:
        matrix: Tensor `K` of shape `(..., p, m)`; half precisions are computed in float32.
        rank: Rank to keep: a whole number from 1 to `min(p, m)`, or a share of that as a float in (0, 1].
        gain: Tensor `(..., m)`: what multiplies each column further on, such as a batch norm's `γ / sqrt(var + ε)`; `None`
            for ones.
        energy: `"merged"` keeps `‖M‖`, `"raw"` keeps `‖K‖`, `"none"` truncates plainly (`s = 1`).
        tail: Share of the cut part that stays, in [0, 1]; above 0 the result is not of low rank.
        damping: The authors' release divides by the gain as `g / (g² + 1e-5)`, which multiplies column `j` of `P` by
            `g² / (g² + damping)`: columns of small gain shrink at each projection until they die. 0 is exact.
        engine: `"svd"`, `"gram"`, `"subspace"` or `"randomized"`, which differ in speed alone; `"auto"` chooses.

    Returns:
        Tensor of the shape and dtype of `matrix`.

    Raises:
        RankError: `rank` is neither.
        ValueError: Another option is out of its range.
    """
    options = {"gain": gain, "energy": energy, "tail": tail, "damping": damping, "engine": engine}
    return truncate_and_measure(matrix, rank, **options).matrix


def balanced_pair(matrix, rank: int):
    """Splits the best approximation of a rank into two factors of equal weight, as tensors.

    `linalg.truncated_pair` does the same in float64 and outside of compiled functions.

    Args:
        matrix: Tensor `(p, m)` with the SVD `U Σ Vᵀ`.
        rank: From 1 to `min(p, m)`.

    Returns:
        Tensors `U_r √Σ_r` of shape `(p, rank)` and `√Σ_r V_rᵀ` of shape `(rank, m)`.
    """
    left, values, right = ops.svd(matrix, full_matrices=False)
    roots = ops.sqrt(values[:rank])
    return left[:, :rank] * roots, roots[:, None] * right[:rank]
