"""Annealing: ranks that fall from full to target over some epochs.

A network loses less when its ranks fall gradually than when they fall at once: the kept directions have time to take over
what the cut ones did. The cubic schedule is that of gradual magnitude pruning (Zhu & Gupta 2017, arXiv 1710.01878).
"""

import dataclasses
import math
import numbers
from collections.abc import Callable

from lrpet_tf.errors import LowRankError
from lrpet_tf.plan import Plan

# What is left of the way from the full rank to the target, once a share `t` of the epochs has passed.
SHAPES: dict[str, Callable[[float], float]] = {
    "linear": lambda t: 1.0 - t,
    "cubic": lambda t: (1.0 - t) ** 3,
}
# Share of the epochs that come after the first projection, when a schedule does not say how many it takes.
_DEFAULT_SHARE = 0.6


@dataclasses.dataclass(frozen=True)
class RankSchedule:
    """How ranks fall: `rank(t) = target + (full rank - target) · left(t)`, rounded up.

    Attributes:
        shape: `"linear"`: `left(t) = 1 - t`; or `"cubic"`: `left(t) = (1 - t)³`, fast at first and slow at the end.
        epochs: Epochs until the targets are reached; by default 60 % of those that a training has left when it begins to
            project.

    Raises:
        LowRankError: `shape` is unknown, or `epochs` under 1.
    """

    shape: str = "cubic"
    epochs: int | None = None

    def __post_init__(self):
        """Checks the values."""
        if self.shape not in SHAPES:
            raise LowRankError(f"`schedule` must be one of {sorted(SHAPES)}, or a RankSchedule. Received: {self.shape!r}")
        whole = isinstance(self.epochs, numbers.Integral) and not isinstance(self.epochs, bool)
        if self.epochs is not None and not (whole and self.epochs >= 1):
            raise LowRankError(
                f"The epochs of a schedule must be a whole number of at least 1. Received: epochs={self.epochs!r}"
            )

    def ranks(self, plan: Plan, epoch: int, epochs_left: int) -> dict[str, int]:
        """Returns the ranks to project to.

        Args:
            plan: The target.
            epoch: Epochs done since the projections began, the present one included: at least 1.
            epochs_left: Epochs that there were when they began.

        Returns:
            Ranks by path, from the target to the full rank.
        """
        total = self.epochs or max(1, math.floor(_DEFAULT_SHARE * epochs_left))
        left = SHAPES[self.shape](min(1.0, epoch / total))
        return {each.path: each.rank + math.ceil(left * (each.full_rank - each.rank) - 1e-9) for each in plan.layers}


def get_schedule(schedule) -> RankSchedule | None:
    """Returns the schedule that a name, a `RankSchedule` or `None` stands for."""
    return schedule if schedule is None or isinstance(schedule, RankSchedule) else RankSchedule(schedule)
