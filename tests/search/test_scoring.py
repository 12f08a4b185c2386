import keras
import numpy as np
import pytest

import lrpet_tf as lrpet
from lrpet_tf import errors
from lrpet_tf.search import search_ranks
from tests.search import toy


def test_the_score_is_the_accuracy_of_evaluate_on_the_rows_held_out():
    from lrpet_tf.search.rows import split_rows

    model, (x, y) = toy.mlp(), toy.data()
    result = search_ranks(model, (x, y), trials=2, holdout=0.3, seed=3, verbose=False, pruner=None)
    rest, held = split_rows(100, 0.3, 3)
    assert len(held) == 30
    assert sorted([*rest, *held]) == list(range(100))
    assert result.dense_score == pytest.approx(model.evaluate(x[held], y[held], verbose=0, return_dict=True)["accuracy"])
    for trial in result.trials:
        weights = model.get_weights()
        lrpet.Projector(model, trial.plan).project()
        assert trial.score == pytest.approx(model.evaluate(x[held], y[held], verbose=0, return_dict=True)["accuracy"])
        model.set_weights(weights)


def test_a_bad_trial_is_stopped_early():
    """Trials are scored in five parts; one that does badly in the first one is stopped there."""
    parts = []

    def score(model):
        for part in range(5):
            parts.append(part)
            yield toy.worth(model)

    result = toy.search(trials=30, score=score)
    pruned, scored = result.of("pruned"), result.of("scored")
    assert len(pruned) >= 5
    assert len(parts) < 5 * 31
    assert len(pruned) + len(scored) == 30
    assert np.median([trial.value for trial in scored]) > np.median([trial.value for trial in pruned])
    assert all(trial.state == "scored" for trial in (*result.pareto, result.best))
    assert not toy.search(trials=12, score=score, pruner=None).of("pruned")


def test_held_out_data_are_scored_in_parts_too():
    train = toy.data(count=400)
    model = toy.mlp()
    model.fit(*train, epochs=10, verbose=0)
    result = search_ranks(model, train, trials=12, holdout=0.5, verbose=False, weight=0.0)
    assert result.of("pruned")
    assert result.best.score == max(trial.score for trial in result.of("scored"))


def test_a_named_metric_and_models_without_an_accuracy():
    model, train = toy.mlp(), toy.data()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, metrics=[keras.metrics.SparseTopKCategoricalAccuracy(2, name="top2")])
    assert search_ranks(model, train, trials=1, score="top2", verbose=False).dense_score > 0.3
    with pytest.raises(errors.LowRankError, match="none: 'loss', 'top2'.*score="):
        search_ranks(model, train, trials=1, verbose=False)
    with pytest.raises(errors.LowRankError, match="score='top3'"):
        search_ranks(model, train, trials=1, score="top3", verbose=False)
    with pytest.raises(errors.LowRankError, match="not compiled"):
        search_ranks(toy.mlp(compiled=False), train, trials=1)
    with pytest.raises(errors.LowRankError, match="epochs=1"):
        toy.search(toy.mlp(compiled=False), epochs=1)
    assert toy.search(toy.mlp(compiled=False), trials=1).trials
