"""The search for ranks: Optuna proposes ratios, and held-out training data judge them."""

import keras

from lrpet_tf.errors import LowRankError, require
from lrpet_tf.plan import Plan
from lrpet_tf.search.cost import get_cost
from lrpet_tf.search.data import search_data
from lrpet_tf.search.objective import Objective
from lrpet_tf.search.result import RankTrial, SearchResult
from lrpet_tf.search.scoring import get_scorer
from lrpet_tf.search.settings import Settings
from lrpet_tf.search.snapshot import Snapshot
from lrpet_tf.search.space import SearchSpace
from lrpet_tf.search.starts import starting_points
from lrpet_tf.search.study import check_same_model, finished, open_study, optimise, quiet, was_scored


def search_ranks(
    model: keras.Model,
    train,
    *,
    trials: int = 50,
    groups="layer",
    budget: float | None = None,
    cost="macs",
    preset: str = "accuracy",
    weight: float | None = None,
    score=None,
    holdout: float = 0.1,
    scored_on=None,
    epochs: int | None = None,
    recalibrate_steps: int = 10,
    low: float = 0.1,
    pruner="median",
    storage=None,
    study_name: str = "rank-search",
    batch_size: int = 128,
    seed: int = 0,
    verbose: bool = True,
    **plan_options,
) -> SearchResult:
    """Searches the ranks of a trained model: one ratio a layer, or a group of layers, judged on held-out training data.

    Optuna's Bayesian optimisation (TPE) proposes ratios in [`low`, 1]. A trial projects the kernels to the ranks that they
    stand for, refreshes the batch norms' statistics, and scores the model on data held out of the training data, part after
    part, so that the pruner stops it when it falls behind. Then everything is put back. With a budget the search begins with
    what is known to meet it: a uniform ratio and, for `"macs"` and `"params"`, the plan of the budget rule on the weights;
    proposals over the budget are told to Optuna as infeasible, cost no scoring, and are not counted as trials.

    Args:
        model: A built model, trained as a rule. It is left as it was, to the bit, also after an error
            or an interruption.
        train: Training data as `fit` takes them: a tuple `(inputs, targets)` of arrays, a `tf.data.Dataset` or a `PyDataset`.
        trials: Trials to score in all, those that a storage holds already included.
        groups: `"layer"` for one ratio a layer, or a dict of names to patterns of layer paths, one or several each. The first
            group that matches a layer counts; layers of no group stay dense. A ratio is a share of the full rank; layers that
            save nothing at theirs stay dense, so a ratio of 1 is the dense layer.
        budget: Largest cost of the result as a share of the dense model's, in (0, 1].
        cost: `"macs"`, `"params"`, or for latency an object with `predict(model, plan)` that gives milliseconds, such as a
            `LatencyTable`.
        preset: `"accuracy"` maximises `score - weight · cost / dense cost`. `"lrpet"` is the search of LRPET's authors: it
            minimises `-acc(projected) - acc(factorized) + weight · cost / dense cost` after one epoch of training. As the
            factorized model computes what the projected one does, one score counts for both. On held-out training data,
            where the authors' release takes the test set.
        weight: By default 0 with a budget and 0.5 without one for `"accuracy"`, and 1 for `"lrpet"`.
        score: Name of a compiled metric of which more is better, or a function of the model that returns a score, or yields
            the score so far after each part of its data, which are then data of its own. By default the accuracy.
        holdout: Share of the rows of `train` that trials are scored on, and not trained on. A model that was trained on them
            before finds them easy: where you can, hold rows out of its training too, and give them as `scored_on`.
        scored_on: Data to score on instead: training data that `train` does not hold, never the test set. Needed where
            `train` is no tuple of arrays.
        epochs: Epochs of training with `LRPETCallback` in each trial, with the compiled optimizer and its learning rate as
            they are; by default 0 for `"accuracy"` and 1 for `"lrpet"`.
        recalibrate_steps: Batches of training data that the batch norms' statistics are refreshed on; 0 leaves them.
        low: Least ratio, in (0, 1).
        pruner: `"median"`, `"halving"`, an Optuna pruner, or `None` to score all trials wholly.
        storage: Path of an SQLite file, a database URL or an Optuna storage, so that the same call goes on after an
            interruption as if there had been none; `None` keeps the trials in memory.
        study_name: Name of the study in the storage.
        batch_size: Size of the batches that arrays are cut into.
        seed: Seed of the split, the proposals and the order of the training.
        verbose: Whether to show a progress bar.
        **plan_options: `decomposition`, `include`, `exclude` and `adapters` of `make_plan`.

    Returns:
        The trials; `result.best.plan` is the plan to train with, `result.plot("pareto.png")` draws the trade-off.

    Raises:
        LowRankError: A setting is out of its range; the budget cannot be reached; there is no accuracy to score with; the data
            cannot be split; or the storage holds a study of other settings.
        PatternError: A pattern matches no layer, or none that can be factorized.
        NothingToFactorizeError: No layer would become cheaper.
        MissingExtraError: Optuna is not installed.
        TypeError: An option is unknown.

    Warns:
        UserWarning: The study was begun with another model or other data; or nearly all proposals are over the budget.
    """
    require("optuna", "'lrpet-tf[search]'")
    settings = Settings(
        trials=trials, low=low, budget=budget, preset=preset, weight=weight, epochs=epochs, recalibrate_steps=recalibrate_steps,
        holdout=holdout, batch_size=batch_size, seed=seed,
    )  # fmt: skip
    space = SearchSpace(model, groups, low, plan_options)
    plan_cost = get_cost(cost, model, plan_options.get("adapters"))
    data = search_data(
        train, scored_on, holdout=holdout, batch_size=batch_size, seed=seed, own_score=callable(score)
    )  # fmt: skip
    scorer = get_scorer(score, model, data.held_out)
    if settings.epochs and not model.compiled:
        raise LowRankError(
            "Trials can be trained only where the model is compiled: compile it, or set epochs=0. "
            f"Received: epochs={settings.epochs!r} and a model that is not compiled"
        )
    dense_cost = plan_cost.of(space.plan(space.all_at(1.0)))
    starts = starting_points(model, space, plan_cost, low, budget, dense_cost, plan_options)
    snapshot = Snapshot(model, optimizer=settings.epochs > 0)
    objective = Objective(model, space, plan_cost, dense_cost, scorer, data, settings, snapshot)
    with quiet():
        identity = {"groups": space.members, "cost": plan_cost.name, **settings.lasting(), "options": _as_text(plan_options)}
        study = open_study(storage, study_name, pruner, identity)
        dense_score = scorer(model)
        check_same_model(study, dense_score)
        optimise(study, objective, trials, seed, starts, _progress(study, trials, verbose))
        return _result(study, objective, dense_score)


def _as_text(options: dict) -> dict[str, str]:
    """Returns options of plans as text that is the same in another process: adapters by the names of their classes."""
    named = {
        name: {kind.__name__: type(adapter).__name__ for kind, adapter in value.items()}
        if name == "adapters" and value
        else value
        for name, value in options.items()
    }
    return {name: repr(value) for name, value in sorted(named.items())}


def _progress(study, trials: int, verbose: bool):
    """Returns what shows the number of scored trials and the best value so far."""
    bar = keras.utils.Progbar(trials, verbose=1 if verbose else 0, unit_name="trial", stateful_metrics=["best"])
    shown = -1

    def show(scored: int) -> None:
        nonlocal shown
        if scored == shown:
            return  # the last one was over the budget
        shown = scored
        values = [trial.value for trial in finished(study) if trial.state.name == "COMPLETE"]
        bar.update(min(scored, trials), [("best", max(values))] if values else [])

    return show


def _result(study, objective: Objective, dense_score: float) -> SearchResult:
    trials = tuple(_trial(each, objective) for each in finished(study))
    return SearchResult(
        trials, dense_score, objective.dense_cost, objective.cost, objective.settings.budget, objective.space.members
    )


def _trial(trial, objective: Objective) -> RankTrial:
    complete = trial.state.name == "COMPLETE"
    state = "scored" if complete else "pruned" if was_scored(trial) else "over budget"
    plan: Plan = objective.space.plan(trial.params)
    score = trial.user_attrs.get("score")
    return RankTrial(trial.number, state, dict(trial.params), plan, trial.user_attrs["cost"], score, trial.value)
