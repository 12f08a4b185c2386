"""The same share of the full rank for every layer."""

import dataclasses

from lrpet_tf.linalg import rank_from_share, validate_rank
from lrpet_tf.ranks.base import Candidate, Form, LayerRule


@dataclasses.dataclass(frozen=True, repr=False)
class Share(LayerRule):
    """Keeps `floor(share · full rank)`, at least 1.

    Attributes:
        share: In (0, 1].

    Raises:
        RankError: `share` is out of range.
    """

    share: float

    def __post_init__(self):
        """Checks the values."""
        super().__post_init__()
        validate_rank(float(self.share) if isinstance(self.share, int) else self.share)

    def rank(self, candidate: Candidate, form: Form) -> int:
        """Returns the share of the full rank."""
        return rank_from_share(self.share, form.full_rank)
