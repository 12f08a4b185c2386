"""The rank that each layer's author declared: `LRPETConv2D(64, 3, rank=0.5)`."""

from collections.abc import Sequence

from lrpet_tf.linalg import rank_from_share, validate_rank
from lrpet_tf.ranks.base import Candidate, RankRule


class Declared(RankRule):
    """Takes the declared ranks; layers without one stay dense."""

    def choose(self, candidates: Sequence[Candidate]) -> dict[str, int]:
        """See `RankRule.choose`."""
        ranks = {}
        for candidate in candidates:
            if candidate.declared_rank is None:
                continue
            rank = validate_rank(candidate.declared_rank, candidate.full_rank, candidate.path)
            ranks[candidate.path] = rank_from_share(rank, candidate.full_rank) if isinstance(rank, float) else rank
        return ranks
