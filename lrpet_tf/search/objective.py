"""What Optuna maximises: a plan is made of its ratios, tried out on the model, and scored."""

import dataclasses
from collections.abc import Callable

import keras

from lrpet_tf.errors import require
from lrpet_tf.plan import Plan
from lrpet_tf.search.cost import PlanCost
from lrpet_tf.search.data import SearchData
from lrpet_tf.search.scoring import FunctionScorer, MetricScorer, Report
from lrpet_tf.search.settings import Settings
from lrpet_tf.search.snapshot import Snapshot
from lrpet_tf.search.space import SearchSpace
from lrpet_tf.training import LRPETCallback, Projector, recalibrate_batch_norms


@dataclasses.dataclass(frozen=True)
class Objective:
    """The objective of a study; calling it makes a trial.

    Attributes:
        model: The model; each trial leaves it as it was.
        space: The ratios.
        cost: The cost.
        dense_cost: The cost of the dense model.
        scorer: What scores the model.
        data: The data.
        settings: The settings.
        snapshot: The state of the model to come back to.
    """

    model: keras.Model
    space: SearchSpace
    cost: PlanCost
    dense_cost: float
    scorer: FunctionScorer | MetricScorer
    data: SearchData
    settings: Settings
    snapshot: Snapshot

    def __call__(self, trial) -> float:
        """Makes a trial.

        Args:
            trial: Optuna's trial. It gets the cost and the score as user attributes, and how far the cost is over the budget
                as a constraint.

        Returns:
            The value of the objective.

        Raises:
            optuna.TrialPruned: The trial is over the budget, and was not scored; or the pruner stopped it.
        """
        optuna = require("optuna", "'lrpet-tf[search]'")
        plan = self.space.plan(self.space.suggest(trial))
        cost = self.cost.of(plan)
        share = cost / self.dense_cost
        trial.set_user_attr("cost", cost)
        if self.settings.budget is not None:
            trial.set_constraint("budget", share - self.settings.budget)
            if share > self.settings.budget:
                raise optuna.TrialPruned

        running = _Running(trial, lambda score: self.settings.value(score, share))
        score = self.score(plan, running)
        trial.set_user_attr("score", score)
        if running.stopped:
            raise optuna.TrialPruned
        return self.settings.value(score, share)

    def score(self, plan: Plan, report: Report) -> float:
        """Returns the score of the model with kernels of the planned ranks; the model is as before afterwards."""
        try:
            self._prepare(plan)
            return self.scorer(self.model, report)
        finally:
            self.snapshot.restore()

    def _prepare(self, plan: Plan) -> None:
        """Trains where this is asked for, projects, and refreshes the batch norms' statistics."""
        if self.settings.epochs:
            callbacks = [LRPETCallback(plan=plan)] if plan.layers else []
            self.model.fit(self.data.training(), epochs=self.settings.epochs, callbacks=callbacks, verbose=0)
        else:
            Projector(self.model, plan).project()
        if self.settings.recalibrate_steps:
            recalibrate_batch_norms(self.model, self.data.training(), self.settings.recalibrate_steps)


class _Running:
    """Reports the objective so far to a trial, and remembers whether the pruner stopped it."""

    def __init__(self, trial, value: Callable[[float], float]):
        self._trial, self._value = trial, value
        self._parts, self.stopped = 0, False

    def __call__(self, score: float) -> bool:
        self._trial.report(self._value(score), self._parts)
        self._parts += 1
        self.stopped = self._trial.should_prune()
        return self.stopped
