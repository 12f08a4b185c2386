"""The rank rules: one file each; what a user may write for one is in `get`."""

import numbers
from collections.abc import Mapping

from lrpet_tf.errors import RankError
from lrpet_tf.linalg import validate_rank
from lrpet_tf.ranks.absolute import Absolute
from lrpet_tf.ranks.base import Candidate, RankRule
from lrpet_tf.ranks.declared import Declared
from lrpet_tf.ranks.numerical import NumericalRank
from lrpet_tf.ranks.patterns import ByPattern, as_patterns, check_patterns, matches
from lrpet_tf.ranks.share import Share


def get(rank, pattern: str | None = None) -> RankRule:
    """Returns the rule that a user's `rank` stands for.

    Args:
        rank: A share as a float in (0, 1], a rank as an int, a rule, a dict of layer-path patterns to any of these, or
            `None` for the declared ranks.
        pattern: The pattern that the rank was given for, for the message.

    Raises:
        RankError: It is none of these.
    """
    if rank is None:
        return Declared()
    if isinstance(rank, RankRule):
        return rank
    if isinstance(rank, Mapping) and rank:
        return ByPattern({each: get(value, each) for each, value in rank.items()})
    if isinstance(rank, bool) or not isinstance(rank, numbers.Real):
        raise RankError(rank, path=pattern)
    rank = validate_rank(rank, path=pattern)
    return Absolute(rank) if isinstance(rank, int) else Share(rank)


__all__ = [
    "Absolute",
    "ByPattern",
    "Candidate",
    "Declared",
    "NumericalRank",
    "RankRule",
    "Share",
    "as_patterns",
    "check_patterns",
    "get",
    "matches",
]
