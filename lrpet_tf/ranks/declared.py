"""The rank that each layer's author declared: `LRPETConv2D(64, 3, rank=0.5)`."""

from collections.abc import Sequence

from lrpet_tf.linalg import resolve_rank
from lrpet_tf.ranks.base import Candidate, RankRule


class Declared(RankRule):
    """Takes the declared ranks; layers without one stay dense."""

    def choose(self, candidates: Sequence[Candidate]) -> dict[str, int]:
        """See `RankRule.choose`."""
        declared = [candidate for candidate in candidates if candidate.declared_rank is not None]
        return {each.path: resolve_rank(each.declared_rank, each.full_rank, each.path) for each in declared}
