import itertools
import sqlite3

import keras
import numpy as np
import pytest
from keras import layers, ops

import lrpet_tf as lrpet
from lrpet_tf import errors
from lrpet_tf.plan import attach, attached
from lrpet_tf.ranks import Share
from lrpet_tf.search import search_ranks

pytest.importorskip("optuna")


def _mlp(compiled=True):
    keras.utils.set_random_seed(0)
    sizes = [("a", 24), ("b", 24), ("c", 24)]
    parts = [layers.Dense(size, activation="relu", name=name) for name, size in sizes]
    model = keras.Sequential([keras.Input((24,)), *parts, layers.Dense(4, name="head")])
    if compiled:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])
    return model


def _convs():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(16, 3, padding="same", use_bias=False, name="conv")(inputs)
    x = layers.Dropout(0.2)(layers.ReLU()(layers.BatchNormalization(name="bn")(x)))
    x = layers.Conv2D(16, 3, use_bias=False, name="conv2")(x)
    x = layers.GlobalAveragePooling2D()(layers.BatchNormalization(name="bn2")(x))
    model = keras.Model(inputs, layers.Dense(4, name="head")(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss, metrics=["accuracy"])
    return model


def _data(shape=(24,), count=100):
    rng = np.random.default_rng(0)
    return rng.standard_normal((count, *shape)).astype("float32"), rng.integers(0, 4, count)


WORTH = {"a": 0.6, "b": 0.1, "c": 0.3}


def _share_kept(model, name):
    kernel = ops.convert_to_numpy(model.get_layer(name).kernel)
    return np.linalg.matrix_rank(kernel.astype("float64"), tol=1e-4) / min(kernel.shape)


def _worth(model):
    """A score that is known: each rank of a layer is worth the same, those of layer "a" most."""
    return sum(worth * _share_kept(model, name) for name, worth in WORTH.items())


def _search(model=None, train=None, **options):
    options = {"trials": 8, "score": _worth, "verbose": False, "exclude": "head", **options}
    return search_ranks(model or _mlp(), train or _data(), **options)


def _facts(result):
    return [(each.number, each.state, each.ratios, each.cost, each.score, each.value) for each in result.trials]


def _state(model):
    variables = [*model.variables, *(model.optimizer.variables if model.optimizer.built else [])]
    return [np.array(ops.convert_to_numpy(variable)) for variable in variables]


def test_it_finds_the_optimum_that_brute_force_finds():
    model = _mlp()
    result = _search(model, trials=60, budget=0.7, pruner=None)
    best = -1.0
    for ranks in itertools.product([3, 6, 9, 11, 24], repeat=3):  # 12 and more save nothing: such a layer is dense
        ratios = dict(zip("abc", (rank / 24 for rank in ranks), strict=True))
        plan = lrpet.make_plan(model, {name: Share(ratio) for name, ratio in ratios.items()}, exclude="head")
        if plan.low_rank_macs <= 0.7 * plan.macs:
            best = max(best, sum(WORTH[name] * ratio for name, ratio in ratios.items()))
    assert best - 0.04 <= result.best.score
    assert result.best.plan.low_rank_macs <= 0.7 * result.dense_cost
    assert "a" not in result.best.plan  # the layer that matters stays dense
    budget_rule = lrpet.make_plan(model, lrpet.MacsBudget(0.7), exclude="head")
    assert result.best.score >= sum(WORTH[n] * (budget_rule[n].rank / 24 if n in budget_rule else 1) for n in "abc") - 1e-9


def test_the_cost_is_that_of_the_factorized_model_and_the_score_that_of_the_projected_one():
    model = _mlp()
    result = _search(model, trials=3)
    for trial in result.trials:
        assert trial.plan == lrpet.make_plan(
            model, {name: Share(ratio) for name, ratio in trial.ratios.items()}, exclude="head"
        )
        copy = keras.models.clone_model(model)
        copy.set_weights(model.get_weights())
        lrpet.Projector(copy, trial.plan).project()
        assert trial.score == pytest.approx(_worth(copy))
        if trial.plan.layers:
            assert lrpet.count_macs(lrpet.factorize(copy, trial.plan)) == trial.cost


def test_the_score_is_the_accuracy_of_evaluate_on_the_rows_held_out():
    from lrpet_tf.search.rows import split_rows

    model, (x, y) = _mlp(), _data()
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


@pytest.mark.parametrize("epochs", [0, 1])
def test_everything_is_put_back_to_the_bit(epochs):
    model, train = _convs(), _data((8, 8, 3))
    model.fit(*train, verbose=0)
    attach(model, plan := lrpet.make_plan(model, 0.25))
    before = _state(model)
    search_ranks(model, train, trials=2, epochs=epochs, verbose=False)
    for one, other in zip(before, _state(model), strict=True):
        np.testing.assert_array_equal(one, other)
    assert attached(model) is plan


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_everything_is_put_back_after_an_error_or_an_interruption(error):
    import optuna

    model, calls = _mlp(), []

    def score(scored):
        calls.append(_worth(scored))
        if len(calls) == 4:
            raise error
        return calls[-1]

    before, verbosity = _state(model), optuna.logging.get_verbosity()
    with pytest.raises(error):
        _search(model, score=score)
    assert calls[1] < calls[0]
    for one, other in zip(before, _state(model), strict=True):
        np.testing.assert_array_equal(one, other)
    assert optuna.logging.get_verbosity() == verbosity


def test_the_batch_norms_are_recalibrated_for_the_score_alone():
    model, train, seen = _convs(), _data((8, 8, 3)), []

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
        found.append(_share_kept(model, "a"))
        return 0.5

    result = _search(score=score, epochs=1, trials=2, groups={"all": ["a", "b", "c"]}, pruner=None)
    for trial, share in zip(result.trials, found[1:], strict=True):
        assert share == pytest.approx(trial.plan["a"].rank / 24 if "a" in trial.plan else 1.0)


def test_the_same_seed_finds_the_same():
    first, second, other = (_search(seed=seed, budget=0.8) for seed in (0, 0, 1))
    assert _facts(first) == _facts(second)
    assert _facts(first) != _facts(other)


def test_a_search_that_goes_on_equals_one_that_was_never_interrupted(tmp_path):
    options = {"budget": 0.8, "study_name": "study"}
    whole = _search(trials=16, **options)
    path = tmp_path / "deep" / "search.db"
    part = _search(trials=5, storage=path, **options)
    assert _facts(whole)[: len(part.trials)] == _facts(part)
    calls = []

    def interrupted(model):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return _worth(model)

    with pytest.raises(KeyboardInterrupt):
        _search(trials=16, storage=f"sqlite:///{path}", score=interrupted, **options)
    resumed = _search(trials=16, storage=path, **options)
    assert [fact[1:] for fact in _facts(whole)] == [fact[1:] for fact in _facts(resumed)]  # the numbers differ by the lost one
    again = _search(trials=16, storage=path, **options)
    assert _facts(again) == _facts(resumed)


def test_a_trial_that_was_running_when_the_process_was_killed_does_not_count(tmp_path):
    import optuna

    path = tmp_path / "search.db"
    _search(trials=3, storage=path)
    study = optuna.load_study(study_name="rank-search", storage=f"sqlite:///{path}")
    study.ask()
    resumed = _search(trials=6, storage=path)
    assert len(resumed.trials) == 6
    assert [fact[1:] for fact in _facts(resumed)] == [fact[1:] for fact in _facts(_search(trials=6))]
    with sqlite3.connect(path) as database:
        assert dict(database.execute("select state, count(*) from trials group by state"))["RUNNING"] == 1


def test_a_study_of_other_settings_is_refused(tmp_path):
    path = tmp_path / "search.db"
    _search(trials=2, storage=path)
    with pytest.raises(errors.LowRankError, match="other settings.*groups=.*then.*study_name='rank-search'"):
        _search(trials=2, storage=path, groups={"all": "a|b|c"})
    with pytest.raises(errors.LowRankError, match=r"budget=None then, 0\.5 now"):
        _search(trials=2, storage=path, budget=0.5)
    with pytest.warns(UserWarning, match="scored .* when .* and scores 0.3000 now"):
        _search(trials=3, storage=path, score=lambda model: 0.3)


def test_the_budget_is_met_and_a_trial_over_it_costs_no_scoring():
    calls = []

    def score(model):
        calls.append(1)
        return _worth(model)

    result = _search(trials=10, budget=0.4, score=score)
    over = result.of("over budget")
    assert over
    assert len(calls) == 1 + 10  # the dense model, and the trials within the budget
    assert len(result.trials) == 10 + len(over)
    assert all(trial.cost > 0.4 * result.dense_cost and trial.score is None for trial in over)
    assert all(trial.cost <= 0.4 * result.dense_cost for trial in result.of("scored"))


def test_optuna_is_told_what_is_not_feasible(tmp_path):
    import optuna

    result = _search(trials=6, budget=0.4, storage=tmp_path / "search.db")
    study = optuna.load_study(study_name="rank-search", storage=f"sqlite:///{tmp_path / 'search.db'}")
    for told, trial in zip(study.trials, result.trials, strict=True):
        assert told.constraints["budget"] == pytest.approx(trial.cost / result.dense_cost - 0.4)


def test_the_search_begins_with_the_largest_uniform_ratio_within_the_budget():
    result = _search(trials=1, budget=0.5)
    (trial,) = result.trials
    (ratio,) = set(trial.ratios.values())
    more = lrpet.make_plan(_mlp(), ratio + 1 / 24, exclude="head")
    assert trial.cost <= 0.5 * result.dense_cost < more.low_rank_macs


def test_a_bad_trial_is_stopped_early():
    """Trials are scored in five parts; one that does badly in the first one is stopped there."""
    parts = []

    def score(model):
        for part in range(5):
            parts.append(part)
            yield _worth(model)

    result = _search(trials=30, score=score)
    pruned, scored = result.of("pruned"), result.of("scored")
    assert len(pruned) >= 5
    assert len(parts) < 5 * 31
    assert len(pruned) + len(scored) == 30
    assert np.median([trial.value for trial in scored]) > np.median([trial.value for trial in pruned])
    assert all(trial.state == "scored" for trial in (*result.pareto, result.best))
    assert not _search(trials=12, score=score, pruner=None).of("pruned")


def test_held_out_data_are_scored_in_parts_too():
    train = _data(count=400)
    model = _mlp()
    model.fit(*train, epochs=10, verbose=0)
    result = search_ranks(model, train, trials=12, holdout=0.5, verbose=False, weight=0.0)
    assert result.of("pruned")
    assert result.best.score == max(trial.score for trial in result.of("scored"))


def test_the_first_group_that_matches_counts_and_other_layers_stay_dense():
    result = _search(groups={"first": "a", "rest": ["a", "b"]}, trials=4)
    assert result.members == {"first": ("a",), "rest": ("b",)}
    for trial in result.trials:
        assert set(trial.plan) <= {"a", "b"}
        if "b" in trial.plan:
            assert trial.plan["b"].rank == lrpet.linalg.rank_from_share(trial.ratios["rest"], 24)


def test_ratios_are_log_uniform():
    ratios = [ratio for trial in _search(trials=10, low=0.01).trials for ratio in trial.ratios.values()]
    assert min(ratios) >= 0.01 and max(ratios) <= 1.0
    assert 0.3 < np.mean(np.log(ratios) / np.log(0.01)) < 0.7


def test_the_authors_objective():
    result = _search(preset="lrpet", epochs=0, trials=5, weight=0.8)
    for trial in result.trials:
        assert trial.value == pytest.approx(2 * trial.score - 0.8 * trial.cost / result.dense_cost)
    trial = next(trial for trial in result.trials if trial.plan.layers)
    model, (x, _) = _mlp(), _data()
    lrpet.Projector(model, trial.plan).project()
    small = lrpet.factorize(model, trial.plan)  # the factorized model scores what the projected one does
    np.testing.assert_allclose(small.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-4)


def test_the_authors_search_trains_an_epoch():
    model, fits = _mlp(), []
    fit = model.fit
    model.fit = lambda *args, **options: fits.append(options["epochs"]) or fit(*args, **options)
    search_ranks(model, _data(), preset="lrpet", trials=2, verbose=False)
    assert fits == [1, 1]


def test_weights_as_cost():
    result = _search(cost="params", budget=0.6, trials=4)
    assert result.best.plan.low_rank_params <= 0.6 * lrpet.count_params(_mlp())


class Stairs:
    """A device on which layer "a" is slower at any rank than dense."""

    def predict(self, model, plan):
        return 4.0 + sum(2.0 if path == "a" else plan[path].rank / 24 - 1.0 for path in plan)


def test_latency_as_cost():
    result = _search(cost=Stairs(), budget=0.8, trials=12)
    assert result.dense_cost == 4.0
    assert all(trial.cost <= 3.2 and "a" not in trial.plan for trial in result.of("scored"))
    assert "ms" in str(result)


def test_data_sets_with_data_to_score_on():
    tf = pytest.importorskip("tensorflow")
    model, (x, y) = _mlp(), _data()
    train = tf.data.Dataset.from_tensor_slices((x[:80], y[:80])).batch(16)
    held = tf.data.Dataset.from_tensor_slices((x[80:], y[80:])).batch(4)
    one = search_ranks(model, train, scored_on=held, trials=3, verbose=False)
    two = search_ranks(model, (x[:80], y[:80]), scored_on=(x[80:], y[80:]), trials=3, verbose=False, pruner=None)
    assert [trial.score for trial in one.trials] == pytest.approx([trial.score for trial in two.trials])
    with pytest.raises(errors.LowRankError, match="Only arrays can be split.*Received: train of type.*scored_on"):
        search_ranks(model, train, trials=3)
    with pytest.raises(errors.LowRankError, match="read again"):
        search_ranks(model, iter([(x, y)]), trials=3)


def test_a_named_metric_and_models_without_an_accuracy():
    model, train = _mlp(), _data()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, metrics=[keras.metrics.SparseTopKCategoricalAccuracy(2, name="top2")])
    assert search_ranks(model, train, trials=1, score="top2", verbose=False).dense_score > 0.3
    with pytest.raises(errors.LowRankError, match="none: 'loss', 'top2'.*score="):
        search_ranks(model, train, trials=1, verbose=False)
    with pytest.raises(errors.LowRankError, match="score='top3'"):
        search_ranks(model, train, trials=1, score="top3", verbose=False)
    with pytest.raises(errors.LowRankError, match="not compiled"):
        search_ranks(_mlp(compiled=False), train, trials=1)
    with pytest.raises(errors.LowRankError, match="epochs=1"):
        _search(_mlp(compiled=False), epochs=1)
    assert _search(_mlp(compiled=False), trials=1).trials


def test_a_progress_bar(capsys):
    _search(trials=3, verbose=True)
    assert "3/3" in capsys.readouterr().out
    _search(trials=3)
    assert not capsys.readouterr().out


@pytest.mark.parametrize(("options", "message"), [
    ({"trials": 0}, "`trials`.*trials=0"), ({"budget": 0.0}, "`budget`.*budget=0.0"), ({"budget": 1.5}, "`budget`.*1.5"),
    ({"holdout": 0.0}, "`holdout`.*holdout=0.0"), ({"holdout": 1}, "`holdout`"), ({"low": 1.0}, "`low`"),
    ({"preset": "best"}, "`preset`.*'accuracy', 'lrpet'.*'best'"), ({"weight": -1}, "`weight`"), ({"seed": -1}, "`seed`"),
    ({"cost": "time"}, "`cost`.*cost='time'"), ({"groups": {}}, "`groups`"), ({"groups": "block"}, "`groups`"),
    ({"pruner": "all"}, "`pruner`"), ({"score": 3}, "`score`"), ({"score": lambda model: float("nan")}, "finite.*nan"),
    ({"holdout": 0.001, "score": None}, "leaves 0 of 100 rows"),
    ({"budget": 0.05}, r"cannot be reached: at the ratio low=0\.1.* 0\.2\d\d\d of the dense.*budget=0\.05.*Raise"),
    ({"groups": {"x": "a", "y": "a"}}, "Group 'y' has no layer"),
    ({"train": (np.zeros((3, 24)), np.zeros(4))}, "one length.*3, 4"),
])  # fmt: skip
def test_bad_settings(options, message):
    with pytest.raises(errors.LowRankError, match=message):
        _search(**options)


def test_bad_patterns_and_options():
    with pytest.raises(errors.PatternError, match="`groups`.*'z'.*matches no layer"):
        _search(groups={"x": "a", "y": "z"})
    with pytest.raises(errors.PatternError, match="`groups`.*'head'.*in `exclude`"):
        _search(groups={"x": "head"})
    with pytest.raises(errors.NothingToFactorizeError, match="low=0.9"):
        _search(low=0.9)
    with pytest.raises(TypeError, match="exlude"):
        search_ranks(_mlp(), _data(), exlude="a")


def test_a_missing_optuna_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(errors.MissingExtraError, match=r"optuna.*lrpet-tf\[search\]"):
        _search()
