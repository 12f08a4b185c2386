"""The engines that project matrices onto those of a rank: one file each, one row each.

All agree with the exact projection, whatever the spectrum: an engine that squares the matrix, or iterates, tests its own
result, and where that is not as good as the best one, a more robust one takes over, on the device.
"""

from keras import ops

from lrpet_tf.linalg.branching import branch
from lrpet_tf.linalg.engines import gram, randomized, subspace, svd
from lrpet_tf.linalg.engines.choosing import choose_engine
from lrpet_tf.linalg.weighted import Gram, Projected, Weighted, working_type

ENGINES = ("svd", "gram", "subspace", "randomized")


def validate_engine(engine: str) -> None:
    """Checks the name of an engine.

    Raises:
        ValueError: The name is unknown.
    """
    if engine != "auto" and engine not in ENGINES:
        raise ValueError(f"`engine` must be 'auto' or one of {sorted(ENGINES)}. Received: engine={engine!r}")


def project(weighted: Weighted, rank, engine: str, start=None) -> Projected:
    """Projects by an engine, or by a more robust one where that fails.

    Args:
        weighted: The matrices, a batch `(..., p, m)`.
        rank: Number of directions: an int; or a tensor of ints, one for each matrix, for ranks that change while a compiled
            function stays the same: then the basis has as many columns as the smaller side, zeros beyond the rank.
        engine: One of `ENGINES`, or `"auto"`.
        start: The basis of an earlier projection, for `"subspace"`; without it the eigen-decomposition finds the first one.

    Returns:
        The projection.
    """
    if engine == "auto":
        engine = choose_engine(weighted.matrix.shape[-2:], rank, start is not None, working_type(weighted.matrix))
    if engine == "svd":
        return svd.project(weighted, rank)
    if engine == "randomized" and isinstance(rank, int):
        return _checked(randomized.project(weighted, rank), lambda: project(weighted, rank, "gram"))
    found = Gram(weighted)

    def afresh():
        return _checked(gram.project(weighted, rank, found), lambda: svd.project(weighted, rank))

    if engine != "subspace" or start is None:
        return afresh()
    unknown = ops.zeros_like(weighted.matrix[..., 0, :])
    nothing = found.trace < 0, (weighted.matrix, unknown, unknown, start)
    begun = ops.any(start[..., :1, :] != 0)  # before the first projection there are only zeros to start from
    reliable, attempt = branch(begun, lambda: _plain(subspace.project(weighted, start, found)), lambda: nothing)
    return _checked((reliable, attempt), afresh)


def _plain(attempt: tuple) -> tuple:
    reliable, projected = attempt
    return reliable, tuple(projected)


def _checked(attempt: tuple, otherwise) -> Projected:
    """Returns the projection of an attempt where it is reliable for the whole batch, else another one."""
    reliable, projected = _plain(attempt)
    return Projected(*branch(ops.all(reliable), lambda: projected, lambda: tuple(otherwise())))


__all__ = ["ENGINES", "choose_engine", "project", "validate_engine"]
