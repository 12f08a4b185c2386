"""The rank that each kernel has already, up to rounding."""

import dataclasses

import numpy as np

from lrpet_tf.ranks.base import Candidate, Form, LayerRule


@dataclasses.dataclass(frozen=True, repr=False)
class NumericalRank(LayerRule):
    """Keeps the fewest singular values that leave an error of at most `tolerance` times the norm of the kernel.

    The kernel is taken as its batch norm scales it. One that was projected in float32 has a tail of about 1e-7 of its norm.

    Attributes:
        tolerance: Share of the Frobenius norm that may be lost.
    """

    tolerance: float = 1e-6
    reads_weights = True

    def rank(self, candidate: Candidate, form: Form) -> int:
        """Returns the numerical rank, at least 1."""
        return max(1, int(np.count_nonzero(form.energy_lost > self.tolerance**2)))
