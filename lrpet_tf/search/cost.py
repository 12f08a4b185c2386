"""What a plan costs: multiply-accumulates, weights, or a measured latency."""

import dataclasses
from collections.abc import Callable, Mapping

import keras

from lrpet_tf.adapters import Adapter
from lrpet_tf.costs import count_macs
from lrpet_tf.errors import LowRankError
from lrpet_tf.plan import Plan
from lrpet_tf.report import megas


@dataclasses.dataclass(frozen=True)
class PlanCost:
    """A cost that a search weighs against the score.

    Attributes:
        name: What it is called in tables and plots.
        of: Gives the cost of a model that is factorized by a plan.
        show: Gives a cost as text.
        adds_up: Whether a lower rank never costs more, as with counts; measured times are staircases with bumps.
    """

    name: str
    of: Callable[[Plan], float] = dataclasses.field(repr=False)
    show: Callable[[float], str] = dataclasses.field(repr=False)
    adds_up: bool


def get_cost(cost, model: keras.Model, adapters: Mapping[type, Adapter] | None = None) -> PlanCost:
    """Returns the cost that a user's `cost` stands for.

    Args:
        cost: `"macs"`, `"params"`, or an object with `predict(model, plan)` that gives milliseconds, such as a `LatencyTable`.
        model: The model.
        adapters: The user's adapters.

    Returns:
        The cost.

    Raises:
        LowRankError: It is none of these, or the multiply-accumulates depend on an unknown image size.
    """
    if isinstance(cost, str) and cost == "macs":
        count_macs(model, adapters=adapters)  # tells which size is unknown, where one is
        return PlanCost("MACs", lambda plan: plan.low_rank_macs, lambda count: megas(round(count)), adds_up=True)
    if isinstance(cost, str) and cost == "params":
        return PlanCost("weights", lambda plan: plan.low_rank_params, lambda count: megas(round(count)), adds_up=True)
    if callable(getattr(cost, "predict", None)) and not isinstance(cost, (type, keras.Model)):
        return PlanCost("latency", lambda plan: float(cost.predict(model, plan)), lambda ms: f"{ms:.3f} ms", adds_up=False)
    raise LowRankError(
        "`cost` must be 'macs', 'params', or an object with predict(model, plan) that gives milliseconds, such as a "
        f"LatencyTable. Received: cost={cost!r}"
    )
