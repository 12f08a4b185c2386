"""What a search maximises, by name.

`"lrpet"` is the search of LRPET (arXiv 2204.05566), as the authors release it.
"""

import dataclasses

from lrpet_tf.errors import LowRankError

# What the cost weighs where there is no budget: half of the cost is worth 25 points of accuracy that is not trained for.
_WEIGHT_WITHOUT_BUDGET = 0.5


@dataclasses.dataclass(frozen=True)
class Preset:
    """An objective, `scores · score - weight · cost / dense cost`, and how a trial is trained for it.

    Attributes:
        scores: How often the score counts.
        epochs: Epochs of training before a trial is scored.
        weight: What the cost weighs with a budget, which bounds it in any case.
        weight_without_budget: What it weighs without one.
    """

    scores: int
    epochs: int
    weight: float
    weight_without_budget: float

    def value(self, score: float, share: float, weight: float) -> float:
        """Returns the objective.

        Args:
            score: The score of a trial.
            share: Its cost as a share of the dense model's.
            weight: What the cost weighs.

        Returns:
            What the search maximises.
        """
        return self.scores * score - weight * share


PRESETS: dict[str, Preset] = {
    "accuracy": Preset(scores=1, epochs=0, weight=0.0, weight_without_budget=_WEIGHT_WITHOUT_BUDGET),
    # The authors minimise -acc(projected) - acc(factorized) + λ · cost / dense cost after one epoch. A factorized model
    # computes what the projected one does, up to rounding, so one score counts twice.
    "lrpet": Preset(scores=2, epochs=1, weight=1.0, weight_without_budget=1.0),
}


def get_preset(name: str) -> Preset:
    """Returns a preset by its name.

    Raises:
        LowRankError: There is none of that name.
    """
    if name not in PRESETS:
        raise LowRankError(f"`preset` must be one of {sorted(PRESETS)}. Received: preset={name!r}")
    return PRESETS[name]
