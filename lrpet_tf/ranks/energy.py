"""The rank that keeps a share of the energy, layer by layer."""

import dataclasses
import numbers

import numpy as np

from lrpet_tf.errors import LowRankError
from lrpet_tf.ranks.base import Candidate, Form, LayerRule

# A share of energy is a quotient of rounded sums: 0.9 of ten equal values is nine of them.
_ROUNDING = 1e-12


@dataclasses.dataclass(frozen=True, repr=False)
class Energy(LayerRule):
    """Keeps the fewest singular values that hold a share of the energy of the kernel, as its batch norm scales it.

    The energy is the sum of the squared singular values: `Σ_{i≤r} σ_i² ≥ share · Σ σ_i²`. TRP trains with it (Xu
    et al. 2020, arXiv 2004.14566: trained rank pruning, `share = 0.9`).

    Attributes:
        share: In (0, 1].

    Raises:
        LowRankError: `share` is out of range.
    """

    share: float
    reads_weights = True

    def __post_init__(self):
        """Checks the values."""
        super().__post_init__()
        if isinstance(self.share, bool) or not isinstance(self.share, numbers.Real) or not 0 < self.share <= 1:
            raise LowRankError(f"The share of the energy to keep must be in (0, 1]. Received: Energy({self.share!r})")

    def rank(self, candidate: Candidate, form: Form) -> int:
        """Returns the smallest rank that keeps the share."""
        return max(1, int(np.count_nonzero(form.energy_lost > 1 - self.share + _ROUNDING)))
