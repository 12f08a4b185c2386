"""Which engine is the fastest for a matrix."""

from lrpet_tf.linalg.engines import ENGINES

_SVD_UP_TO = 8


def choose_engine(engine: str, sides: tuple[int, int], rank, warm: bool) -> str:
    """Returns the engine that a name stands for.

    Args:
        engine: `"auto"` or one of `ENGINES`.
        sides: Rows and columns of the matrix.
        rank: Number of directions: an int, or a tensor.
        warm: Whether there is a basis to start from.

    Raises:
        ValueError: `engine` is unknown.
    """
    if engine != "auto":
        if engine not in ENGINES:
            raise ValueError(f"`engine` must be 'auto' or one of {sorted(ENGINES)}. Received: engine={engine!r}")
        return engine
    return "svd" if min(sides) <= _SVD_UP_TO else "subspace" if warm else "gram"
