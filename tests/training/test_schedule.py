import keras
import numpy as np
import pytest
from keras import layers, ops

import lrpet_tf as lrpet
from lrpet_tf import errors
from lrpet_tf.training import RankSchedule


def _model():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(16, 3, padding="same", use_bias=False, name="conv")(inputs)
    x = layers.ReLU()(layers.BatchNormalization(name="bn")(x))
    x = layers.Conv2D(24, 3, padding="same", use_bias=False, name="second")(x)
    model = keras.Model(inputs, layers.Dense(4, name="head")(layers.GlobalAveragePooling2D()(x)))
    model.compile(keras.optimizers.SGD(0.05), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def _rank(model, name="conv"):
    kernel = ops.convert_to_numpy(model.get_layer(name).kernel).astype("float64")
    values = np.linalg.svd(kernel.reshape(-1, kernel.shape[-1]), compute_uv=False)
    return int(np.count_nonzero(values > 1e-5 * values[0]))


class Watch(keras.callbacks.Callback):
    """Notes the rank of the convolution after each epoch."""

    def __init__(self):
        super().__init__()
        self.ranks = []

    def on_epoch_end(self, epoch, logs=None):
        self.ranks.append(_rank(self.model))


def _fit(callback, epochs, model=None, **options):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((64, 8, 8, 3)).astype("float32"), rng.integers(0, 4, 64)
    model, watch = model or _model(), Watch()
    options = {"batch_size": 16, "verbose": 0, **options}
    history = model.fit(x, y, epochs=epochs, callbacks=[callback, watch], **options)
    return model, watch.ranks, history.history


@pytest.mark.parametrize(("shape", "left"), [("linear", lambda t: 1 - t), ("cubic", lambda t: (1 - t) ** 3)])
def test_ranks_fall_from_full_to_target(shape, left):
    plan = lrpet.make_plan(_model(), {"conv": 3, "second": 7})
    ranks = [RankSchedule(shape, epochs=5).ranks(plan, epoch, 20) for epoch in range(1, 8)]
    for path, target, full in (("conv", 3, 16), ("second", 7, 24)):
        expected = [target + int(np.ceil((full - target) * left(min(1, epoch / 5)) - 1e-9)) for epoch in range(1, 8)]
        assert [each[path] for each in ranks] == expected
        assert expected[4:] == [target] * 3


def test_the_default_length_is_three_fifths_of_the_epochs_left():
    plan = lrpet.make_plan(_model(), {"conv": 3})
    at = [RankSchedule("linear").ranks(plan, epoch, 10)["conv"] for epoch in (5, 6, 7)]
    assert at[0] > 3
    assert at[1:] == [3, 3]
    assert RankSchedule("linear").ranks(plan, 1, 1)["conv"] == 3


@pytest.mark.parametrize(
    "make",
    [
        lambda: RankSchedule("square"),
        lambda: RankSchedule("cubic", epochs=0),
        lambda: RankSchedule("cubic", epochs=1.5),
        lambda: lrpet.LRPETCallback(0.5, schedule="none"),
    ],
)
def test_bad_schedules(make):
    with pytest.raises(errors.LowRankError, match="Received: "):
        make()


def test_training_follows_the_schedule_and_ends_at_the_target():
    model, ranks, _ = _fit(lrpet.LRPETCallback({"conv": 4}, schedule=RankSchedule("linear", epochs=4)), 6)
    assert ranks == [13, 10, 7, 4, 4, 4]
    assert lrpet.factorize(model).count_params() < model.count_params()


def test_a_schedule_that_is_cut_short_still_ends_at_the_target():
    model, ranks, _ = _fit(lrpet.LRPETCallback({"conv": 4}, schedule=RankSchedule("linear", epochs=12)), 2)
    assert ranks == [15, 14]
    assert _rank(model) == 4


def test_a_schedule_begins_where_the_projections_begin():
    _, ranks, _ = _fit(lrpet.LRPETCallback({"conv": 4}, start_epoch=2, schedule=RankSchedule("linear", epochs=2)), 5)
    assert ranks == [16, 16, 10, 4, 4]


def test_a_resumed_training_goes_on_with_the_schedule():
    callback = lrpet.LRPETCallback({"conv": 4}, schedule=RankSchedule("linear", epochs=4))
    _, ranks, _ = _fit(callback, 6, initial_epoch=2)
    assert ranks == [7, 4, 4, 4]


def test_a_rule_that_reads_the_weights_plans_after_the_warm_up(capsys):
    callback = lrpet.LRPETCallback(lrpet.MacsBudget(0.5), warmup_epochs=2)
    planned = []

    class Look(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            planned.append(callback.plan is not None)

    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((64, 8, 8, 3)).astype("float32"), rng.integers(0, 4, 64)
    model, watch = _model(), Watch()
    history = model.fit(x, y, batch_size=16, epochs=4, callbacks=[callback, watch, Look()], verbose=2)
    assert planned == [False, False, True, True]
    assert watch.ranks[:2] == [16, 16]
    assert watch.ranks[3] == (callback.plan["conv"].rank if "conv" in callback.plan else 16)
    assert history.history["lrpet_energy_kept"][:2] == [1, 1]
    assert "ranks planned after 2 epochs of training. MacsBudget(0.5)" in capsys.readouterr().out
    assert lrpet.count_macs(lrpet.factorize(model)) == callback.plan.low_rank_macs <= 0.5 * callback.plan.macs


def test_the_plan_is_that_of_the_kernels_at_the_end_of_the_warm_up():
    callback = lrpet.LRPETCallback(lrpet.Energy(0.7), warmup_epochs=1)
    plans = []

    class Look(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 0:
                plans.append(lrpet.make_plan(self.model, lrpet.Energy(0.7)))

    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((64, 8, 8, 3)).astype("float32"), rng.integers(0, 4, 64)
    _model().fit(x, y, batch_size=16, epochs=2, callbacks=[callback, Look()], verbose=0)
    assert callback.plan == plans[0]


@pytest.mark.parametrize(("rank", "warmup"), [(lrpet.Energy(0.7), 2), (lrpet.MacsBudget(0.1), 2), (0.25, 0), ({"conv": 4}, 0),
                                              ({"conv": lrpet.Energy(0.5)}, 2)])  # fmt: skip
def test_the_warm_up_by_default(rank, warmup):
    _, ranks, _ = _fit(lrpet.LRPETCallback(rank), 3)
    assert [rank == 16 for rank in ranks].index(False) == warmup


def test_a_plain_rank_can_warm_up_too():
    callback = lrpet.LRPETCallback(0.25, warmup_epochs=1)
    _, ranks, _ = _fit(callback, 3)
    assert ranks == [16, 4, 4]


def test_no_warm_up_for_a_model_that_is_trained():
    callback = lrpet.LRPETCallback(lrpet.Energy(0.5), warmup_epochs=0)
    model = _model()
    expected = lrpet.make_plan(model, lrpet.Energy(0.5))
    _fit(callback, 1, model)
    assert callback.plan == expected


def test_a_training_shorter_than_its_warm_up_is_planned_at_its_end(capsys):
    callback = lrpet.LRPETCallback(lrpet.Energy(0.5))
    model, ranks, _ = _fit(callback, 1, verbose=2)
    assert ranks == [16]
    assert _rank(model) == callback.plan["conv"].rank < 16
    assert "planned after 1 epochs" in capsys.readouterr().out


def test_what_cannot_be_reached_is_told_before_the_warm_up():
    callback = lrpet.LRPETCallback(lrpet.MacsBudget(0.001))
    ranks = []
    with pytest.raises(errors.BudgetError, match="least that can be reached"):
        _, ranks, _ = _fit(callback, 5)
    assert ranks == []
    with pytest.raises(errors.PatternError):
        _fit(lrpet.LRPETCallback({"nothing": lrpet.MacsBudget(0.5)}), 5)


def test_plans_are_revised(capsys):
    callback = lrpet.LRPETCallback(
        lrpet.MacsBudget(0.5), warmup_epochs=1, replan_every=2, schedule=RankSchedule("linear", epochs=4)
    )
    plans = []

    class Look(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            plans.append(callback.plan)

    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((64, 8, 8, 3)).astype("float32"), rng.integers(0, 4, 64)
    model = _model()
    model.fit(x, y, batch_size=16, epochs=6, callbacks=[callback, Look()], verbose=2, validation_data=(x, y))
    assert plans[0] is None
    assert plans[1] is not plans[2]  # epochs 3 and 5 end with a revision
    assert plans[2] is plans[3] is not plans[4]
    assert plans[4] is plans[5]
    assert capsys.readouterr().out.count("LRPETCallback: ranks planned after") == 3
    assert lrpet.count_macs(lrpet.factorize(model)) == callback.plan.low_rank_macs


@pytest.mark.parametrize("options", [
    {"warmup_epochs": -1}, {"warmup_epochs": 1.5}, {"replan_every": 0}, {"start_epoch": -1}, {"start_epoch": True},
])  # fmt: skip
def test_bad_values(options):
    with pytest.raises(ValueError, match="Received: "):
        lrpet.LRPETCallback(0.5, **options)


def test_a_given_plan_is_not_revised():
    plan = lrpet.make_plan(_model(), 0.25)
    with pytest.raises(ValueError, match="replan_every=2"):
        lrpet.LRPETCallback(plan=plan, replan_every=2)
    _, ranks, _ = _fit(lrpet.LRPETCallback(plan=plan, warmup_epochs=1, schedule=RankSchedule("linear", epochs=2)), 4)
    assert ranks == [16, 10, 4, 4]


def test_a_sequential_model_that_is_built_after_its_warm_up():
    model = keras.Sequential([layers.Conv2D(16, 3, name="conv"), layers.Flatten(), layers.Dense(4)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    callback = lrpet.LRPETCallback({"conv": lrpet.Energy(0.5)})
    _, ranks, _ = _fit(callback, 5, model, initial_epoch=3)
    assert ranks == [callback.plan["conv"].rank] * 2


def test_a_sequential_model_without_an_input_warms_up():
    parts = [layers.Conv2D(16, 3, name="conv"), layers.Flatten(), layers.Dense(4)]
    model = keras.Sequential(parts)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    callback = lrpet.LRPETCallback({"conv": lrpet.Energy(0.5)}, warmup_epochs=1)
    _, ranks, _ = _fit(callback, 2, model)
    assert ranks[0] == 16
    assert ranks[1] == callback.plan["conv"].rank
