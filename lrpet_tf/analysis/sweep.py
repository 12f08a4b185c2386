"""Budgets side by side: what each costs and keeps."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence

import keras
import numpy as np

from lrpet_tf import ranks
from lrpet_tf.errors import BudgetError, LowRankError, NothingToFactorizeError
from lrpet_tf.plan import LayerPlan, Plan
from lrpet_tf.ranks import Budget, MacsBudget, Problem, RankRule, Share
from lrpet_tf.ranks.budget import Option
from lrpet_tf.report import Kept, draw_budgets

SHARES = (0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
# What the rules count, by the name of the class; another `SomeBudget` counts "some".
_COSTS = {"MacsBudget": "multiply-accumulates", "ParamsBudget": "weights", "SizeBudget": "size of the file"}


@dataclasses.dataclass(frozen=True, repr=False)
class _Least(RankRule):
    """The least budget that can be reached."""

    budget: Callable[[float], RankRule]

    def choose(self, problem: Problem):
        """See `RankRule.choose`; nothing where the rules are no budgets, which do not tell."""
        rule = ranks.get(self.budget(1.0))
        if not isinstance(rule, Budget):
            return {}
        options, fixed = rule.weigh(problem)
        total = fixed + sum(each[0].cost for each in options)
        least = fixed + sum(min(option.cost for option in each) for each in options)
        return ranks.get(self.budget(min(1.0, least / total * (1 + 1e-12)))).choose(problem)


class Sweep:
    """Budgets to compare, and uniform shares beside them.

    Args:
        budget: Gives the rule of a share.
        shares: The shares.
        cost: Gives what a plan costs as a share of the dense model, or `None` for what the budget counts.

    Raises:
        LowRankError: `budget` cannot be called, or `shares` holds none, or one out of range.
    """

    def __init__(self, budget: Callable[[float], RankRule], shares: Iterable[float] = SHARES, cost=None):
        if not callable(budget):
            raise LowRankError(
                f"Expected a budget that makes a rule of a share, such as MacsBudget. Received: budget={budget!r}"
            )
        uniform = [Share(float(share)) for share in shares]
        if not uniform:
            raise LowRankError("Expected at least one share in (0, 1]. Received: shares=()")
        self._budgets = [ranks.get(budget(rule.share)) for rule in uniform]
        self._cost = cost
        self.rules = [*self._budgets, _Least(budget), *uniform]

    def draw(self, model: keras.Model, problem: Problem, plans: Sequence[Plan | BudgetError]):
        """Draws the plans of the rules."""
        if not problem.candidates:
            raise NothingToFactorizeError(f"model '{model.name}' has no layer that can be factorized")
        count = len(self._budgets)
        reached, least, uniform = plans[:count], plans[count], plans[count + 1 :]
        errors = [plan for plan in reached if isinstance(plan, BudgetError)]
        name, cost = type(self._budgets[0]).__name__, self._cost or _cost_of(self._budgets[0], problem)
        curves = {name: _points(reached, problem, cost), "uniform share": _points(uniform, problem, cost)}
        mark = None
        if errors:
            found = _points([least], problem, cost) if isinstance(self._budgets[0], Budget) else sorted(curves[name])[:1]
            if not found:
                raise errors[-1]
            mark = found[0]
            curves[name] = sorted({mark, *curves[name]})
        label = "cost" if self._cost and name not in _COSTS else _COSTS.get(name, name.removesuffix("Budget").lower())
        title = f"{model.name}: energy kept over the budget"
        return draw_budgets({key: points for key, points in curves.items() if points}, mark, cost=label, title=title)


def _cost_of(rule: RankRule, problem: Problem) -> Callable[[Plan], float | None]:
    """Returns what tells the cost of a plan as a share of the dense model, in the unit of a budget."""
    if not isinstance(rule, Budget) or isinstance(rule, MacsBudget):
        return lambda plan: plan.low_rank_macs / plan.macs if plan.macs else None
    options, fixed = rule.weigh(problem)
    by_path = {candidate.path: each for candidate, each in zip(problem.candidates, options, strict=True)}
    total = fixed + sum(each[0].cost for each in options)

    def reached(plan: Plan) -> float:
        return (fixed + sum(_amount(each, plan.get(path)) for path, each in by_path.items())) / total

    return reached


def _amount(options: Sequence[Option], planned: LayerPlan | None) -> float:
    """Returns what a layer costs; a rank that is no option, such as one that was not measured, as the next one above it."""
    dense, *others = options
    if planned is None:
        return dense.cost
    above = [each for each in others if each.choice.form == planned.decomposition and each.choice.rank >= planned.rank]
    return min(above, key=lambda each: each.choice.rank).cost if above else dense.cost


def _points(plans: Iterable[Plan | BudgetError], problem: Problem, cost) -> list[Kept]:
    """Returns what plans cost and keep, where a budget was reached and the cost is known."""
    lost = {(each.path, form.name): form.energy_lost for each in problem.candidates for form in each.forms}
    found = []
    for plan in plans:
        at = None if isinstance(plan, BudgetError) else cost(plan)
        if at is not None:
            kept = [
                1 - lost[each.path, plan[each.path].decomposition][plan[each.path].rank] if each.path in plan else 1.0
                for each in problem.candidates
            ]
            found.append(Kept(float(at), float(np.mean(kept)), float(np.min(kept))))
    return found
