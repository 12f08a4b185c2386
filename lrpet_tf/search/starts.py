"""What a search with a budget begins with: what is known to meet the budget, so that the search can only improve on it."""

import keras

from lrpet_tf.errors import LowRankError
from lrpet_tf.planning import make_plan
from lrpet_tf.ranks import MacsBudget, ParamsBudget
from lrpet_tf.search.cost import PlanCost
from lrpet_tf.search.space import SearchSpace

_RULES = {"MACs": MacsBudget, "weights": ParamsBudget}
# Halvings of the interval in which the uniform ratio lies: a hundredth of a percent of it is left.
_HALVINGS = 13


def least_ratios(space: SearchSpace, cost: PlanCost, low: float) -> dict[str, float]:
    """Returns the ratios of least cost: `low` for all, but for layers that are slower then than dense."""
    ratios = space.all_at(low)
    if cost.adds_up:
        return ratios
    least = cost.of(space.plan(ratios))
    for name in space.names:
        dense = {**ratios, name: 1.0}
        found = cost.of(space.plan(dense))
        if found < least:
            ratios, least = dense, found
    return ratios


def check_reachable(space: SearchSpace, cost: PlanCost, low: float, budget: float, dense: float) -> dict[str, float]:
    """Checks that a budget can be met.

    Args:
        space: The ratios.
        cost: The cost.
        low: Least ratio.
        budget: Share of the dense cost.
        dense: The dense cost.

    Returns:
        The ratios of least cost.

    Raises:
        LowRankError: The budget cannot be met; the message states the least that can be reached.
    """
    ratios = least_ratios(space, cost, low)
    least = cost.of(space.plan(ratios))
    if least > budget * dense:
        raise LowRankError(
            f"The budget cannot be reached: at the ratio low={low:g} of all that is searched the {cost.name} are "
            f"{cost.show(least)}, {least / dense:.4f} of the dense model's {cost.show(dense)}. Received: budget={budget!r}. "
            "Raise the budget, lower `low`, or search more layers."
        )
    return ratios


def starting_points(
    model: keras.Model, space: SearchSpace, cost: PlanCost, low: float, budget: float | None, dense: float, options: dict
) -> list[dict[str, float]]:
    """Returns the ratios to try first.

    Args:
        model: The model.
        space: The ratios.
        cost: The cost.
        low: Least ratio.
        budget: Share of the dense cost, or `None`: then there is nothing to begin with.
        dense: The dense cost.
        options: Options of plans.

    Returns:
        The largest uniform ratio that meets the budget; then, where there is one, what the budget rule makes of the weights.

    Raises:
        LowRankError: The budget cannot be met; the message states the least that can be reached.
    """
    if budget is None:
        return []
    least = check_reachable(space, cost, low, budget, dense)
    high, found = 1.0, least
    for _ in range(_HALVINGS):
        middle = (low * high) ** 0.5
        ratios = {name: max(ratio, middle) for name, ratio in least.items()}
        if cost.of(space.plan(ratios)) <= budget * dense:
            low, found = middle, ratios
        else:
            high = middle
    points = [found]
    if cost.name in _RULES:
        points.append(space.of_plan(make_plan(model, _RULES[cost.name](float(budget)), **options)))
    return points
