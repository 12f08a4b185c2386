"""The settings of a search: checked once, and kept with the study so that it goes on as it began."""

import dataclasses
import numbers

from lrpet_tf.errors import LowRankError
from lrpet_tf.search.presets import Preset, get_preset


def _is_number(value) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _is_whole(value) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a search is made; see `search_ranks`.

    Attributes:
        trials: Trials to score in all.
        low: Least ratio.
        budget: Share of the dense cost, or `None`.
        preset: Name of a preset.
        weight: What the cost weighs, or `None` for what the preset says.
        epochs: Epochs of training of a trial, or `None` for what the preset says.
        recalibrate_steps: Batches for the batch norms.
        holdout: Share of the training data that is held out.
        batch_size: Size of the batches that arrays are cut into.
        seed: Seed of everything that is drawn.

    Raises:
        LowRankError: One of them is out of its range.
    """

    trials: int
    low: float
    budget: float | None
    preset: str
    weight: float | None
    epochs: int | None
    recalibrate_steps: int
    holdout: float
    batch_size: int
    seed: int

    def __post_init__(self):
        """Checks the values, and fills in what the preset says."""
        found: Preset = get_preset(self.preset)
        if self.weight is None:
            object.__setattr__(self, "weight", found.weight_without_budget if self.budget is None else found.weight)
        if self.epochs is None:
            object.__setattr__(self, "epochs", found.epochs)
        for name, least in (("trials", 1), ("epochs", 0), ("recalibrate_steps", 0), ("batch_size", 1), ("seed", 0)):
            value = getattr(self, name)
            if not (_is_whole(value) and value >= least):
                raise LowRankError(f"`{name}` must be a whole number of at least {least}. Received: {name}={value!r}")
        if not (_is_number(self.low) and 0 < self.low < 1):
            raise LowRankError(f"`low`, the least ratio, must be in (0, 1). Received: low={self.low!r}")
        if self.budget is not None and not (_is_number(self.budget) and 0 < self.budget <= 1):
            raise LowRankError(
                "`budget` must be a share of the dense model's cost in (0, 1], or None for no budget. "
                f"Received: budget={self.budget!r}"
            )
        if not (_is_number(self.weight) and self.weight >= 0):
            raise LowRankError(f"`weight` must be a number of at least 0. Received: weight={self.weight!r}")
        if not (_is_number(self.holdout) and 0 < self.holdout < 1):
            raise LowRankError(
                "`holdout` must be a share of the training data in (0, 1); give `scored_on` to score on other data. "
                f"Received: holdout={self.holdout!r}"
            )

    def value(self, score: float, share: float) -> float:
        """Returns what the search maximises, of a score and of a cost as a share of the dense model's."""
        return get_preset(self.preset).value(score, share, self.weight)

    def lasting(self) -> dict:
        """Returns what must stay the same when a search goes on, as JSON takes it; the number of trials need not."""
        return {name: value for name, value in dataclasses.asdict(self).items() if name not in {"trials", "batch_size"}}
