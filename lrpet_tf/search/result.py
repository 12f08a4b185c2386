"""What a search has found."""

import dataclasses
import functools
import os
from collections.abc import Mapping

from lrpet_tf.plan import Plan
from lrpet_tf.report import render
from lrpet_tf.search.cost import PlanCost
from lrpet_tf.search.pareto import pareto_front
from lrpet_tf.search.plot import save_trade_off


@dataclasses.dataclass(frozen=True)
class RankTrial:
    """One trial of a search.

    Attributes:
        number: Its number in the study, from 0.
        state: `"scored"`; `"pruned"`: stopped when it had scored badly on a part of the data; or `"over budget"`: not scored.
        ratios: The ratio of each layer or group.
        plan: The plan that they stand for.
        cost: What the factorized model costs.
        score: The score, of a pruned trial that so far; `None` over the budget.
        value: What the search maximises; `None` where there is no score.
    """

    number: int
    state: str
    ratios: Mapping[str, float]
    plan: Plan = dataclasses.field(repr=False)
    cost: float
    score: float | None
    value: float | None


@dataclasses.dataclass(frozen=True)
class SearchResult:
    """The trials of a search. Printing it shows the best trade-offs, and the ratios of the best trial.

    Attributes:
        trials: All trials, in the order they were made.
        dense_score: Score of the model as it is.
        dense_cost: Its cost.
        cost: What is counted as cost.
        budget: The budget as a share of the dense cost, or `None`.
        members: Paths of the layers that each ratio stands for.
    """

    trials: tuple[RankTrial, ...]
    dense_score: float
    dense_cost: float
    cost: PlanCost
    budget: float | None
    members: Mapping[str, tuple[str, ...]]

    def of(self, state: str) -> tuple[RankTrial, ...]:
        """Returns the trials of a state."""
        return tuple(trial for trial in self.trials if trial.state == state)

    @functools.cached_property
    def best(self) -> RankTrial:
        """The trial of greatest value that meets the budget; of equal ones the cheapest."""
        return max(self.of("scored"), key=lambda trial: (trial.value, -trial.cost, -trial.number))

    @functools.cached_property
    def pareto(self) -> tuple[RankTrial, ...]:
        """The scored trials that no other one beats in both score and cost, by rising cost."""
        scored = self.of("scored")
        return tuple(scored[i] for i in pareto_front([each.cost for each in scored], [each.score for each in scored]))

    def plot(self, path: str | os.PathLike) -> None:
        """Draws the score of all trials against their cost, the Pareto front, the dense model and the budget.

        Args:
            path: Picture to write, whole or not at all; the suffix gives the format.

        Raises:
            MissingExtraError: matplotlib is not installed.
            LowRankError: The suffix names no format, or the folder does not exist.
        """
        save_trade_off(path, self)

    def _row(self, name: str, cost: float, score: float, ratios: Mapping[str, float] | None) -> tuple[str, ...]:
        spread = f"{min(ratios.values()):.2f} to {max(ratios.values()):.2f}" if ratios else "-"
        return name, f"{score:.4f}", self.cost.show(cost), f"{cost / self.dense_cost:.3f}", spread

    def __str__(self) -> str:
        """Returns the table of the dense model and the Pareto front, and that of the best trial's ratios."""
        rows = [
            self._row(f"trial {each.number}{' (best)' * (each == self.best)}", each.cost, each.score, each.ratios)
            for each in sorted({each.number: each for each in (*self.pareto, self.best)}.values(), key=lambda each: each.cost)
        ]
        rows.append(self._row("dense", self.dense_cost, self.dense_score, None))
        counts = f"{len(self.of('scored'))} trials scored to the end, {len(self.of('pruned'))} stopped early"
        if self.budget is not None:
            counts += f", {len(self.of('over budget'))} proposals over the budget of {self.budget:g}"
        columns = ("", "held-out score", self.cost.name, "of dense", "ratios")
        front = render(f"Rank search: the best scores for the {self.cost.name}", columns, rows)
        return f"{front}\n{counts}\n{self._ratios_table()}"

    def _ratios_table(self) -> str:
        plan, rows = self.best.plan, []
        for name, ratio in self.best.ratios.items():
            paths = self.members[name]
            ranks = [f"{plan[path].rank} of {plan[path].full_rank}" if path in plan else "dense" for path in paths]
            shown = dict.fromkeys(ranks)
            rows.append((name, f"{ratio:.3f}", str(len(paths)), ", ".join(shown)))
        return render(f"Trial {self.best.number}", ("layer or group", "ratio", "layers", "ranks"), rows)
