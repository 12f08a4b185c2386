"""What a rank may be, and how a share becomes one."""

import math
import numbers

from lrpet_tf.errors import RankError

# A share such as 0.43 is not a binary fraction: 0.43 * 100 falls just under 43. The floor forgives that much.
_FLOAT_DUST = 1e-9


def rank_from_share(share: float, full_rank: int) -> int:
    """Returns the rank that keeps a share of the full rank.

    Args:
        share: Share kept, in (0, 1].
        full_rank: The smaller side of the matrix.

    Returns:
        `floor(share * full_rank)`, at least 1: `rank_from_share(0.43, 100)` is 43.
    """
    return max(1, math.floor(share * full_rank + _FLOAT_DUST * full_rank))


def validate_rank(rank: float, full_rank: int | None = None, path: str | None = None) -> float | int:
    """Checks a rank given by a user.

    Args:
        rank: A share as a float in (0, 1], or a whole number from 1 to the full rank.
        full_rank: The full rank, where it is known already.
        path: Path of the layer, for the message.

    Returns:
        The rank as a plain `float` (a share) or `int` (a rank).

    Raises:
        RankError: Neither a share nor a rank.
    """
    if isinstance(rank, bool) or not isinstance(rank, numbers.Real):
        raise RankError(rank, full_rank, path)
    if isinstance(rank, numbers.Integral):
        if rank < 1 or (full_rank is not None and rank > full_rank):
            raise RankError(rank, full_rank, path)
        return int(rank)
    if not 0.0 < rank <= 1.0:
        raise RankError(rank, full_rank, path)
    return float(rank)


def resolve_rank(rank: float, full_rank: int, path: str | None = None) -> int:
    """Returns the rank that a user's share or number stands for.

    Args:
        rank: A share as a float in (0, 1], or a whole number from 1 to the full rank.
        full_rank: The smaller side of the matrix.
        path: Path of the layer, for the message.

    Returns:
        A whole number from 1 to `full_rank`.

    Raises:
        RankError: Neither a share nor a rank that the matrix can have.
    """
    rank = validate_rank(rank, full_rank, path)
    return rank_from_share(rank, full_rank) if isinstance(rank, float) else rank
