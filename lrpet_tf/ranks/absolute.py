"""The same rank for every layer."""

from collections.abc import Sequence

from lrpet_tf.linalg import resolve_rank, validate_rank
from lrpet_tf.ranks.base import Candidate, RankRule


class Absolute(RankRule):
    """Keeps a given number of singular values.

    Args:
        rank: At least 1.

    Raises:
        RankError: `rank` is under 1.
    """

    def __init__(self, rank: int):
        self.rank = validate_rank(rank)

    def choose(self, candidates: Sequence[Candidate]) -> dict[str, int]:
        """See `RankRule.choose`; a rank above a layer's full rank is an error that names the layer."""
        return {each.path: resolve_rank(self.rank, each.full_rank, each.path) for each in candidates}
