"""The rank that each kernel has already, up to rounding."""

from collections.abc import Sequence

import numpy as np

from lrpet_tf.ranks.base import Candidate, RankRule


class NumericalRank(RankRule):
    """Keeps the fewest singular values that leave an error of at most `tolerance` times the norm of the kernel.

    A kernel that was projected in float32 has a tail of about 1e-7 of its norm.

    Args:
        tolerance: Share of the Frobenius norm that may be lost.
    """

    def __init__(self, tolerance: float = 1e-6):
        self.tolerance = tolerance

    def choose(self, candidates: Sequence[Candidate]) -> dict[str, int]:
        """See `RankRule.choose`."""
        return {candidate.path: self._rank(candidate.spectrum) for candidate in candidates}

    def _rank(self, spectrum: np.ndarray) -> int:
        tails = np.sqrt(np.cumsum(spectrum[::-1] ** 2)[::-1])  # tails[r]: the error of keeping r values
        return max(1, int(np.count_nonzero(tails > self.tolerance * tails[0])))
