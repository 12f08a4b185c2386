"""The same share of the full rank for every layer."""

from collections.abc import Sequence

from lrpet_tf.linalg import rank_from_share, validate_rank
from lrpet_tf.ranks.base import Candidate, RankRule


class Share(RankRule):
    """Keeps `floor(share · full rank)`, at least 1.

    Args:
        share: In (0, 1].

    Raises:
        RankError: `share` is out of range.
    """

    def __init__(self, share: float):
        self.share = validate_rank(float(share))

    def choose(self, candidates: Sequence[Candidate]) -> dict[str, int]:
        """See `RankRule.choose`."""
        return {candidate.path: rank_from_share(self.share, candidate.full_rank) for candidate in candidates}
