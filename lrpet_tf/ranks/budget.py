"""Budgets: the ranks of all layers together, such that a total is met and the most is kept."""

import abc
import dataclasses
import numbers
from collections.abc import Callable, Iterable, Iterator
from typing import ClassVar, NamedTuple

import numpy as np

from lrpet_tf.costs import Cost
from lrpet_tf.errors import BudgetError, LowRankError
from lrpet_tf.ranks.base import Candidate, Choice, Chosen, Dense, Form, Problem, RankRule
from lrpet_tf.ranks.knapsack import least_cost, minimise_max, minimise_sum
from lrpet_tf.ranks.quantities import parse_quantity
from lrpet_tf.report import megas

# No layer loses all of its energy: its logarithm stays finite.
_NEARLY_ALL = 1 - 1e-12


def _maximise_product(costs, losses, budget: float):
    return minimise_sum(costs, [-np.log1p(-np.minimum(loss, _NEARLY_ALL)) for loss in losses], budget)


CRITERIA = {"sum": minimise_sum, "max": minimise_max, "product": _maximise_product}


class Option(NamedTuple):
    """What may become of a layer: a choice or its dense form (`None`), its cost, and the share of its energy that is lost."""

    choice: Choice | None
    cost: float
    loss: float


class Weighed(NamedTuple):
    """The options of each candidate, the dense form first, and what costs the same whatever is chosen."""

    options: list[list[Option]]
    fixed: float


class Limit(NamedTuple):
    """A budget: a share of the dense model's total, or an amount."""

    share: float | None = None
    amount: float | None = None


@dataclasses.dataclass(frozen=True, repr=False)
class Budget(RankRule):
    """Ranks for all layers together that meet a budget and keep most.

    It solves a multiple-choice knapsack problem. The options of a layer are its dense form, of loss 0, and each allowed rank
    `r` that costs less; their loss is the relative error of the kernel `M` as its batch norm scales it,

        e(r) = ‖M − M_r‖² / ‖M‖² = Σ_{i>r} σ_i² / Σ σ_i².

    `criterion="sum"` minimises `Σ e` over the layers: errors of layers add up like independent noise. `"max"` minimises the
    largest `e`, the minimax of ALDS (Liebenwein et al. 2021, arXiv 2107.11442; there in the operator norm), and spends what
    is left on the sum. `"product"` maximises `Π (1 - e)`, since layers in series pass on what is left of each other's signal
    (Zhang et al. 2016, arXiv 1505.06798): unlike the sum, it never gives up a costly layer to keep many cheap ones. See
    `lrpet_tf.ranks.knapsack` for how they are solved.

    Attributes:
        limit: A share of the dense model's total as a float in (0, 1], or an amount, as a whole number or a text with a unit.
            The total is that of the whole model, layers included that stay as they are; in a dict of patterns, that of the
            layers of the pattern.
        criterion: `"sum"`, `"max"` or `"product"`.

    Raises:
        LowRankError: `limit` or `criterion` is something else.
        BudgetError: When it chooses: the budget cannot be reached; the message states the least that can be.
    """

    limit: float | int | str
    criterion: str = dataclasses.field(default="sum", kw_only=True)

    reads_weights = True
    unit: ClassVar[str]
    example: ClassVar[str]

    def __post_init__(self):
        """Checks the values."""
        super().__post_init__()
        if self.criterion not in CRITERIA:
            raise LowRankError(f"`criterion` must be one of {sorted(CRITERIA)}. Received: criterion={self.criterion!r}")
        self.parsed()

    def parsed(self) -> Limit:
        """Returns the limit as a share or as an amount."""
        amount = self.limit
        if isinstance(amount, str):
            amount = parse_quantity(amount, self.unit)
            if amount:
                return Limit(amount=amount)
        elif isinstance(amount, numbers.Real) and not isinstance(amount, bool):
            if isinstance(amount, numbers.Integral) and amount >= 1:
                return Limit(amount=int(amount))
            if not isinstance(amount, numbers.Integral) and 0 < amount <= 1:
                return Limit(share=float(amount))
        raise LowRankError(
            f"{type(self).__name__} takes a share of the dense model's total as a float in (0, 1], or an amount such as "
            f"{self.example!r}. Received: {self.limit!r}"
        )

    @abc.abstractmethod
    def weigh(self, problem: Problem) -> Weighed:
        """Returns the options of each candidate, its dense form first, and what the rest costs."""

    @abc.abstractmethod
    def show(self, amount: float) -> str:
        """Returns an amount as text."""

    def choose(self, problem: Problem) -> Chosen:
        """See `RankRule.choose`."""
        options, fixed = self.weigh(problem)
        total = fixed + sum(each[0].cost for each in options)
        share, amount = self.parsed()
        limit = amount if share is None else share * total
        costs, losses = ([np.array([option[field] for option in each], float) for each in options] for field in (1, 2))
        cheapest = least_cost(costs)
        least = fixed + cheapest
        if least > limit:
            raise BudgetError(
                repr(self), self.show(limit), self.show(least), self.show(total), least / total, self.show(max(0, fixed))
            )
        picked = []
        if options:
            solution = CRITERIA[self.criterion](costs, losses, max(limit - fixed, cheapest))
            picked = [each[j] for each, j in zip(options, solution.options, strict=True)]
        reached = fixed + sum(option.cost for option in picked)
        note = f"{self!r}: {self.show(total)} → {self.show(reached)}, {self.show(limit)} allowed"
        choices = {
            candidate.path: option.choice or self._dense(each)
            for candidate, each, option in zip(problem.candidates, options, picked, strict=True)
        }
        return Chosen(choices, note)

    def _options(
        self, candidate: Candidate, dense: float, priced: Callable[[Form], Iterable[tuple[int, float]]]
    ) -> list[Option]:
        """Returns the dense form of a layer, and the ranks of each form that `priced` gives with their costs."""
        chains = [
            Option(Choice(form.name, rank, weighed=True), cost, float(form.energy_lost[rank]))
            for form in candidate.forms
            for rank, cost in priced(form)
        ]
        return [Option(None, dense, 0.0), *chains]

    def _cheaper(self, form: Form, dense: float, cost: Callable[[int], float]) -> Iterator[tuple[int, float]]:
        """Yields the allowed ranks that cost less than the dense form, where the cost rises with the rank."""
        for rank in map(int, self.allowed_ranks(form.full_rank)):
            amount = cost(rank)
            if amount >= dense:
                return
            yield rank, amount

    def _dense(self, options: list[Option]) -> Dense:
        return Dense(f"left dense by {self!r}" if len(options) > 1 else "no rank is cheaper than its dense form")


class CostBudget(Budget):
    """A budget of something that follows from the shapes."""

    @abc.abstractmethod
    def amount(self, cost: Cost, path: str) -> float:
        """Returns what the budget counts of the cost of a layer."""

    def weigh(self, problem: Problem) -> Weighed:
        """See `Budget.weigh`; only forms that cost less than the dense layer are options."""
        fixed = sum(self.amount(cost, path) for path, cost in problem.others.items())
        return Weighed([self._weighed(candidate) for candidate in problem.candidates], fixed)

    def _weighed(self, candidate: Candidate) -> list[Option]:
        dense = self.amount(candidate.dense, candidate.path)

        def priced(form: Form):
            return self._cheaper(form, dense, lambda rank: self.amount(form.cost(rank), candidate.path))

        return self._options(candidate, dense, priced)


@dataclasses.dataclass(frozen=True, repr=False)
class MacsBudget(CostBudget):
    """Meets a budget of multiply-accumulates for one sample: `MacsBudget(0.5)` or `MacsBudget("20 M")`."""

    unit = "(?:MACs?)"
    example = "20 M"

    def amount(self, cost: Cost, path: str) -> float:
        """Returns the multiply-accumulates."""
        if cost.macs is None:
            raise LowRankError(
                f"The multiply-accumulates of layer '{path}' depend on an unknown size, so {self!r} cannot be met. Build the "
                "model on a keras.Input of fixed height and width, or use a ParamsBudget."
            )
        return cost.macs

    def show(self, amount: float) -> str:
        """Returns millions of multiply-accumulates."""
        return f"{megas(round(amount))} MACs"


@dataclasses.dataclass(frozen=True, repr=False)
class ParamsBudget(CostBudget):
    """Meets a budget of weights of convolutions and Dense layers: `ParamsBudget(0.5)` or `ParamsBudget("130 k")`."""

    unit = "(?:params|weights)"
    example = "130 k"

    def amount(self, cost: Cost, path: str) -> float:
        """Returns the weights."""
        return cost.params

    def show(self, amount: float) -> str:
        """Returns thousands or millions of weights."""
        return f"{megas(round(amount))} weights"
