"""The rank that each layer's author declared: `LRPETConv2D(64, 3, rank=0.5)`."""

import dataclasses

from lrpet_tf.errors import LowRankError
from lrpet_tf.linalg import resolve_rank
from lrpet_tf.ranks.base import Candidate, Chosen, Form, LayerRule, Problem


@dataclasses.dataclass(frozen=True, repr=False)
class Declared(LayerRule):
    """Takes the declared ranks; layers without one stay dense.

    Raises:
        LowRankError: When it chooses: no layer declares a rank.
    """

    def rank(self, candidate: Candidate, form: Form) -> int | None:
        """Returns the declared rank."""
        if candidate.declared_rank is None:
            return None
        return resolve_rank(candidate.declared_rank, form.full_rank, candidate.path)

    def choose(self, problem: Problem) -> Chosen:
        """See `RankRule.choose`."""
        chosen = super().choose(problem)
        if not chosen.choices and problem.whole:
            raise LowRankError(
                "No rank was given and no layer declares one: pass rank=0.5, say, or build layers as LRPETConv2D(…, rank=0.5). "
                "Received: rank=None"
            )
        return chosen
