"""What a trial does and costs, and what it is held to."""

import keras
import numpy as np
import pytest
from keras import ops

import lrpet_tf as lrpet
from lrpet_tf.ranks import Share
from lrpet_tf.search import search_ranks
from tests.search import toy


def test_the_cost_is_that_of_the_factorized_model_and_the_score_that_of_the_projected_one():
    model = toy.mlp()
    result = toy.search(model, trials=3)
    for trial in result.trials:
        assert trial.plan == lrpet.make_plan(
            model, {name: Share(ratio) for name, ratio in trial.ratios.items()}, exclude="head"
        )
        copy = keras.models.clone_model(model)
        copy.set_weights(model.get_weights())
        lrpet.Projector(copy, trial.plan).project()
        assert trial.score == pytest.approx(toy.worth(copy))
        if trial.plan.layers:
            assert lrpet.count_macs(lrpet.factorize(copy, trial.plan)) == trial.cost


def test_the_batch_norms_are_recalibrated_for_the_score_alone():
    model, train, seen = toy.convs(), toy.data((8, 8, 3)), []

    def score(scored):
        seen.append(ops.convert_to_numpy(scored.get_layer("bn2").moving_mean).copy())
        return 0.5

    search_ranks(model, train, trials=1, score=score, verbose=False)
    search_ranks(model, train, trials=1, score=score, verbose=False, recalibrate_steps=0)
    dense, recalibrated, _, left = seen
    np.testing.assert_array_equal(dense, left)
    assert np.abs(dense - recalibrated).max() > 1e-3


def test_training_before_the_score_gives_kernels_of_the_planned_rank():
    found = []

    def score(model):
        found.append(toy.share_kept(model, "a"))
        return 0.5

    result = toy.search(score=score, epochs=1, trials=2, groups={"all": ["a", "b", "c"]}, pruner=None)
    for trial, share in zip(result.trials, found[1:], strict=True):
        assert share == pytest.approx(trial.plan["a"].rank / 24 if "a" in trial.plan else 1.0)


def test_the_budget_is_met_and_a_trial_over_it_costs_no_scoring():
    calls = []

    def score(model):
        calls.append(1)
        return toy.worth(model)

    result = toy.search(trials=10, budget=0.4, score=score)
    over = result.of("over budget")
    assert over
    assert len(calls) == 1 + 10  # the dense model, and the trials within the budget
    assert len(result.trials) == 10 + len(over)
    assert all(trial.cost > 0.4 * result.dense_cost and trial.score is None for trial in over)
    assert all(trial.cost <= 0.4 * result.dense_cost for trial in result.of("scored"))


def test_optuna_is_told_what_is_not_feasible(tmp_path):
    import optuna

    result = toy.search(trials=6, budget=0.4, storage=tmp_path / "search.db")
    study = optuna.load_study(study_name="rank-search", storage=f"sqlite:///{tmp_path / 'search.db'}")
    for told, trial in zip(study.trials, result.trials, strict=True):
        assert told.constraints["budget"] == pytest.approx(trial.cost / result.dense_cost - 0.4)
