"""The multiple-choice knapsack problem: one option for each layer, a budget for all together.

Problem solved, for groups `i` of options `j` of cost `c_ij` and loss `e_ij`:

    minimise    Σ_i e_i,j(i)    (or  max_i e_i,j(i))    over j(i),    subject to    Σ_i c_i,j(i) ≤ budget.

The linear relaxation is solved on the lower convex hulls of the options (Sinha & Zoltners 1979). Its multiplier prices the
budget: an option whose priced loss is above the best of its group by more than the gap between relaxation and a feasible
solution is in no optimal solution. What is left is searched group by group, keeping the partial solutions that no other one
beats in both cost and loss (Kellerer, Pferschy & Pisinger 2004, "Knapsack Problems", chapter 11).
"""

import heapq
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# Partial solutions kept at a time. Where there are more, those of the largest priced loss are dropped, and the result is
# optimal only to within its `gap`.
_WIDTH = 20_000
# Partial solutions kept over all groups: with many groups fewer are kept at a time, so that the time does not grow with the
# square of their number.
_TOTAL = 1_000_000
# Relative error of a sum of costs that is forgiven; whole numbers up to 1e11 stay exact.
_ROUNDING = 1e-12


class Solution(NamedTuple):
    """The options chosen.

    Attributes:
        options: Index of the chosen option in each group.
        cost: Their total cost.
        loss: Their total loss, or their largest one.
        gap: How far the loss may at most be above the optimum; 0 where it is the optimum.
    """

    options: tuple[int, ...]
    cost: float
    loss: float
    gap: float


def least_cost(costs: Sequence[np.ndarray]) -> float:
    """Returns the cost of the cheapest option of each group together."""
    return sum(group.min() for group in costs)


def minimise_sum(costs: Sequence[np.ndarray], losses: Sequence[np.ndarray], budget: float) -> Solution | None:
    """Minimises the sum of the losses.

    Args:
        costs: Arrays `(options,)`, one a group, at least 0.
        losses: Arrays of the same shapes.
        budget: Largest total cost.

    Returns:
        The solution, or `None` where the cheapest options are over the budget.
    """
    budget = _rounded_up(costs, budget)
    if least_cost(costs) > budget:
        return None
    fronts = [_front(*group) for group in zip(costs, losses, strict=True)]
    groups = [(cost[front], loss[front]) for cost, loss, front in zip(costs, losses, fronts, strict=True)]
    price = _price(groups, budget)
    start = _greedy(groups, price, budget)
    chosen, exact = _search(groups, price, budget, start)
    picked = list(zip(chosen, groups, strict=True))
    total_cost, total_loss = (sum(group[which][j] for j, group in picked) for which in (0, 1))
    bound = sum((loss + price * cost).min() for cost, loss in groups) - price * budget
    options = tuple(int(front[j]) for j, front in zip(chosen, fronts, strict=True))
    return Solution(options, float(total_cost), float(total_loss), 0.0 if exact else float(max(0.0, total_loss - bound)))


def minimise_max(costs: Sequence[np.ndarray], losses: Sequence[np.ndarray], budget: float) -> Solution | None:
    """Minimises the largest loss; what the budget then leaves is spent on the sum of the losses.

    Args:
        costs: Arrays `(options,)`, one a group, at least 0.
        losses: Arrays of the same shapes.
        budget: Largest total cost.

    Returns:
        The solution, whose largest loss is the optimum, or `None` where the cheapest options are over the budget.
    """
    budget = _rounded_up(costs, budget)
    levels = np.unique(np.concatenate(losses))

    def cheapest(level: float) -> float:
        within = [cost[loss <= level] for cost, loss in zip(costs, losses, strict=True)]
        return sum(cost.min() for cost in within) if all(map(len, within)) else np.inf

    low, high = 0, len(levels) - 1
    if cheapest(levels[high]) > budget:
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if cheapest(levels[middle]) <= budget else (middle + 1, high)
    within = [np.flatnonzero(loss <= levels[low]) for loss in losses]
    inner = minimise_sum(
        [cost[kept] for cost, kept in zip(costs, within, strict=True)],
        [loss[kept] for loss, kept in zip(losses, within, strict=True)],
        budget,
    )
    options = tuple(int(kept[j]) for kept, j in zip(within, inner.options, strict=True))
    return Solution(options, inner.cost, float(max(loss[j] for loss, j in zip(losses, options, strict=True))), 0.0)


def _rounded_up(costs: Sequence[np.ndarray], budget: float) -> float:
    """Returns a budget that forgives the rounding of sums: the same costs may be added up in another order."""
    return budget + _ROUNDING * (abs(budget) + sum(group.max() for group in costs))


def _front(cost: np.ndarray, loss: np.ndarray) -> np.ndarray:
    """Returns the indices of the options that no other one beats, by ascending cost and descending loss."""
    order = np.lexsort((loss, cost))
    best_before = np.concatenate([[np.inf], np.minimum.accumulate(loss[order])[:-1]])
    return order[loss[order] < best_before]


def _hull(cost: np.ndarray, loss: np.ndarray) -> list[int]:
    """Returns the indices of the lower convex hull of a front."""
    hull: list[int] = []
    for j in range(len(cost)):
        while len(hull) > 1:
            a, b = hull[-2:]
            if (loss[a] - loss[b]) * (cost[j] - cost[b]) > (loss[b] - loss[j]) * (cost[b] - cost[a]):
                break  # steeper before than after: b is on the hull
            hull.pop()
        hull.append(j)
    return hull


def _price(groups, budget: float) -> float:
    """Returns the loss that one unit of cost is worth at the optimum of the linear relaxation."""
    steps = []
    for cost, loss in groups:
        hull = _hull(cost, loss)
        steps.append(np.stack([np.diff(cost[hull]), -np.diff(loss[hull])]))
    extra, gained = np.concatenate(steps, axis=1)
    worth = gained / extra
    order = np.argsort(-worth)
    spent = sum(cost[0] for cost, _ in groups) + np.cumsum(extra[order])
    over = int(np.searchsorted(spent, budget, side="right"))
    return float(worth[order[over]]) if over < len(order) else 0.0


def _greedy(groups, price: float, budget: float) -> list[int]:
    """Returns a feasible choice: the best at the price, made cheaper until it fits, then improved while something fits."""
    chosen = [int(np.argmin(loss + price * cost)) for cost, loss in groups]
    spent = sum(cost[j] for j, (cost, _) in zip(chosen, groups, strict=True))

    def sacrifice(i: int) -> float:
        """Returns what a unit of cost loses that the next cheaper option of a group saves."""
        (cost, loss), j = groups[i], chosen[i]
        return (loss[j - 1] - loss[j]) / (cost[j] - cost[j - 1]) if j else np.inf

    least = [(sacrifice(i), i) for i in range(len(groups) if spent > budget else 0)]
    heapq.heapify(least)
    while spent > budget:
        i = least[0][1]
        spent -= groups[i][0][chosen[i]] - groups[i][0][chosen[i] - 1]
        chosen[i] -= 1
        heapq.heapreplace(least, (sacrifice(i), i))

    def best(i: int) -> tuple[int, float]:
        """Returns the best option of a group that the budget allows, and what it gains."""
        (cost, loss), j = groups[i], chosen[i]
        other = int(np.searchsorted(cost, cost[j] + budget - spent, side="right")) - 1
        return other, loss[j] - loss[other]

    most = [(-best(i)[1], i) for i in range(len(groups))]
    heapq.heapify(most)
    while most:
        before, i = most[0]
        j, gain = best(i)  # a gain falls as the budget is spent
        if gain <= 0:
            heapq.heappop(most)
        elif gain < -before:
            heapq.heapreplace(most, (-gain, i))
        else:
            spent += groups[i][0][j] - groups[i][0][chosen[i]]
            chosen[i] = j
    return chosen


def _search(groups, price: float, budget: float, start: list[int]) -> tuple[list[int], bool]:
    """Returns the best choice, and whether none was dropped on the way."""
    priced = [loss + price * cost for cost, loss in groups]
    best_priced = [values.min() for values in priced]
    upper = sum(loss[j] for j, (_, loss) in zip(start, groups, strict=True))
    gap = upper - (sum(best_priced) - price * budget)
    slack = gap + 1e-12 * max(1.0, abs(upper))
    kept = [np.flatnonzero(values - best <= slack) for values, best in zip(priced, best_priced, strict=True)]
    order = sorted(range(len(groups)), key=lambda i: len(kept[i]))
    cheapest_after = np.cumsum([0.0, *(groups[i][0][kept[i]].min() for i in reversed(order))])[::-1][1:]

    width = max(1, min(_WIDTH, _TOTAL // max(1, len(groups))))
    cost, loss, excess, exact, trail = np.zeros(1), np.zeros(1), np.zeros(1), True, []
    for i, least in zip(order, cheapest_after, strict=True):
        options = kept[i]
        costs = (cost[:, None] + groups[i][0][options]).ravel()
        losses = (loss[:, None] + groups[i][1][options]).ravel()
        excesses = (excess[:, None] + (priced[i][options] - best_priced[i])).ravel()
        alive = np.flatnonzero((costs + least <= budget) & (excesses <= slack))
        alive = alive[_front(costs[alive], losses[alive])]
        if len(alive) > width:
            exact = False
            alive = alive[np.argsort(excesses[alive], kind="stable")[:width]]
        cost, loss, excess = costs[alive], losses[alive], excesses[alive]
        trail.append((i, alive // len(options), options[alive % len(options)]))
    if not len(loss) or loss.min() >= upper:
        return start, exact
    chosen, at = list(start), int(np.argmin(loss))
    for i, parents, options in reversed(trail):
        chosen[i], at = int(options[at]), parents[at]
    return chosen, exact
