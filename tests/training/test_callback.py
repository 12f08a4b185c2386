import keras
import numpy as np
import pytest
from keras import layers, ops

import lrpet_tf as lrpet
from lrpet_tf import errors
from lrpet_tf.layers import LRPETConv2D


def _model(**compile_options):
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(16, 3, padding="same", use_bias=False, name="conv")(inputs)
    x = layers.ReLU()(layers.BatchNormalization(name="bn")(x))
    model = keras.Model(inputs, layers.Dense(4, name="head")(layers.GlobalAveragePooling2D()(x)))
    options = {"optimizer": keras.optimizers.SGD(0.1), "loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True)}
    model.compile(**{**options, **compile_options})
    return model


def _data(count=64):
    rng = np.random.default_rng(0)
    return rng.standard_normal((count, 8, 8, 3)).astype("float32"), rng.integers(0, 4, count)


def _rank(layer):
    kernel = ops.convert_to_numpy(ops.cast(layer.kernel, "float32")).astype("float64").reshape(-1, layer.kernel.shape[-1])
    values = np.linalg.svd(kernel, compute_uv=False)
    return int(np.count_nonzero(values > 1e-5 * values[0]))


class Watch(keras.callbacks.Callback):
    """Notes the rank of the convolution at every hook."""

    def __init__(self):
        super().__init__()
        self.ranks = []

    def _note(self, hook):
        self.ranks.append((hook, _rank(self.model.get_layer("conv"))))

    def on_train_batch_end(self, batch, logs=None):
        self._note("batch")

    def on_test_begin(self, logs=None):
        self._note("test")

    def on_epoch_end(self, epoch, logs=None):
        self._note("epoch")

    def of(self, hook):
        return [rank for name, rank in self.ranks if name == hook]


def _fit(model, callback, *, watch=None, **options):
    x, y = _data()
    options = {"batch_size": 16, "epochs": 2, "verbose": 0, **options}
    return model.fit(x, y, callbacks=[callback, *([watch] if watch else [])], **options)


def test_val_figures_are_those_of_the_low_rank_model():
    model, watch = _model(metrics=["accuracy"]), Watch()
    history = _fit(model, lrpet.LRPETCallback(0.25), watch=watch, validation_data=_data(32)).history
    assert watch.of("test") == [4, 4]
    assert all(rank == 16 for rank in watch.of("batch"))
    x, y = _data(32)
    small = lrpet.factorize(model)
    logits = small.predict(x, verbose=0)
    loss = float(keras.losses.SparseCategoricalCrossentropy(from_logits=True)(y, logits))
    assert history["val_loss"][-1] == pytest.approx(loss, abs=1e-4)
    assert history["val_accuracy"][-1] == pytest.approx(np.mean(np.argmax(logits, -1) == y), abs=1e-6)


def test_without_validation_it_projects_at_the_end_of_the_epoch():
    model, watch = _model(), Watch()
    _fit(model, lrpet.LRPETCallback(0.25), watch=watch)
    assert watch.of("epoch") == [4, 4]
    assert _rank(model.get_layer("conv")) == 4


def test_validation_in_some_epochs_only():
    model, watch = _model(), Watch()
    _fit(model, lrpet.LRPETCallback(0.25), watch=watch, epochs=3, validation_data=_data(32), validation_freq=2)
    assert watch.of("test") == [4]
    assert watch.of("epoch") == [4, 4, 4]


def test_every_number_of_steps():
    model, watch = _model(), Watch()
    _fit(model, lrpet.LRPETCallback(0.25, every=3), watch=watch, epochs=3)  # 4 steps an epoch
    assert [index + 1 for index, rank in enumerate(watch.of("batch")) if rank == 4] == [3, 6, 9, 12]
    assert _rank(model.get_layer("conv")) == 4


@pytest.mark.tensorflow
def test_steps_are_counted_by_the_optimizer_not_by_the_hook():
    model, watch = _model(steps_per_execution=2), Watch()
    _fit(model, lrpet.LRPETCallback(0.25, every=3), watch=watch, epochs=3)
    assert watch.of("batch") == [16, 4, 4, 16, 4, 4]  # after steps 2, 4, 6, 8, 10, 12


def test_steps_under_gradient_accumulation():
    model, watch = _model(optimizer=keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)), Watch()
    _fit(model, lrpet.LRPETCallback(0.25, every=3), watch=watch, epochs=3)
    updates = [index + 1 for index, rank in enumerate(watch.of("batch")) if rank == 4]
    assert updates[0] == 6  # the third update of the weights
    assert _rank(model.get_layer("conv")) == 4


def test_start_epoch():
    model, watch = _model(), Watch()
    history = _fit(model, lrpet.LRPETCallback(0.25, start_epoch=2), watch=watch, epochs=4, validation_data=_data(32)).history
    assert watch.of("test") == [16, 16, 4, 4]
    assert len(history["lrpet_energy_kept"]) == 4  # as many as there are epochs, so that logs and plots line up
    assert all(0.0 < kept < 1.0 for kept in history["lrpet_energy_kept"][:2])


def test_the_last_projection_comes_even_before_the_start_epoch():
    model = _model()
    _fit(model, lrpet.LRPETCallback(0.25, start_epoch=10))
    assert _rank(model.get_layer("conv")) == 4


def test_energy_kept_is_in_the_logs_of_the_epoch():
    model = _model()
    history = _fit(model, lrpet.LRPETCallback({"conv": 4}), validation_data=_data(32)).history
    kept = history["lrpet_energy_kept"]
    assert len(kept) == 2
    assert all(0.3 < each < 1.0 for each in kept)


def test_energy_kept_of_the_first_projection_is_the_oracles():
    model = _model(optimizer=keras.optimizers.SGD(0.0))
    kernel = ops.convert_to_numpy(model.get_layer("conv").kernel).astype("float64").reshape(-1, 16)
    history = _fit(model, lrpet.LRPETCallback({"conv": 4}, bn_rectify=False), epochs=1).history
    values = np.linalg.svd(kernel, compute_uv=False)
    assert history["lrpet_energy_kept"][0] == pytest.approx(np.sum(values[:4] ** 2) / np.sum(values**2), rel=1e-4)


def test_the_plan_is_left_on_the_callback_and_on_the_model():
    model, callback = _model(), lrpet.LRPETCallback(0.25)
    _fit(model, callback)
    assert [layer.path for layer in callback.plan.layers] == ["conv", "head"]
    assert lrpet.count_macs(lrpet.factorize(model)) == callback.plan.low_rank_macs


def test_a_given_plan_and_options_of_plans():
    model = _model()
    plan = lrpet.make_plan(model, 0.25, exclude="head")
    callback = lrpet.LRPETCallback(plan=plan)
    _fit(model, callback)
    assert callback.plan is plan
    callback = lrpet.LRPETCallback(0.25, exclude="head")
    _fit(model, callback)
    assert callback.plan == plan


def test_declared_ranks_without_an_argument():
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), LRPETConv2D(16, 3, rank=0.25, name="conv"), layers.Flatten(), layers.Dense(4)]
    )
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    _fit(model, lrpet.LRPETCallback())
    assert _rank(model.get_layer("conv")) == 4


def test_tail_stays_until_the_last_projection():
    model, watch = _model(), Watch()
    _fit(model, lrpet.LRPETCallback(0.25, tail=0.5), watch=watch)
    assert watch.of("epoch") == [16, 16]
    assert _rank(model.get_layer("conv")) == 4


def test_early_stopping_that_restores_weights_and_averaging_optimizers_are_projected():
    model = _model()
    x, y = _data()
    stop = keras.callbacks.EarlyStopping(monitor="loss", patience=1, restore_best_weights=True)
    model.fit(x, y, epochs=6, verbose=0, callbacks=[stop, lrpet.LRPETCallback(0.25, every=1000)])
    assert _rank(model.get_layer("conv")) == 4
    model = _model(optimizer=keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5))
    _fit(model, lrpet.LRPETCallback(0.25))
    assert _rank(model.get_layer("conv")) == 4


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy):
    keras.config.set_dtype_policy(policy)
    try:
        model = _model()
    finally:
        keras.config.set_dtype_policy("float32")
    _fit(model, lrpet.LRPETCallback(0.25, every=3), validation_data=_data(32))
    assert _rank(model.get_layer("conv")) == 4


@pytest.mark.tensorflow
@pytest.mark.parametrize("options", [{"jit_compile": True}, {"run_eagerly": True}], ids=["compiled by XLA", "eager"])
def test_compiled_and_eager_training(options):
    model = _model(**options)
    _fit(model, lrpet.LRPETCallback(0.25, every=3))
    assert _rank(model.get_layer("conv")) == 4


@pytest.mark.tensorflow
def test_inside_a_mirrored_strategy():
    import tensorflow as tf

    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        model = _model()
    _fit(model, lrpet.LRPETCallback(0.25, every=3), validation_data=_data(32))
    assert _rank(model.get_layer("conv")) == 4


def test_evaluating_outside_fit_projects_nothing():
    model, callback = _model(), lrpet.LRPETCallback(0.25)
    _fit(model, callback)
    model.get_layer("conv").kernel.assign(np.random.default_rng(1).standard_normal((3, 3, 3, 16)))
    model.evaluate(*_data(32), callbacks=[callback], verbose=0)
    assert _rank(model.get_layer("conv")) == 16


def test_a_kernel_that_is_not_finite_names_the_layer_and_the_epoch():
    model = _model()

    class Poison(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                kernel = np.array(ops.convert_to_numpy(self.model.get_layer("head").kernel))
                kernel[0, 0] = np.nan
                self.model.get_layer("head").kernel.assign(kernel)

    conv = model.get_layer("conv")
    x, y = _data()
    with pytest.raises(errors.NonFiniteKernelError, match="'(conv|head)'.*in epoch 2.*learning rate"):
        model.fit(x, y, epochs=3, verbose=0, callbacks=[Poison(), lrpet.LRPETCallback(0.25)])
    del conv


def test_a_model_that_would_not_gain():
    with pytest.raises(errors.NothingToFactorizeError, match="no layer would become cheaper.*keep_if_no_gain=True"):
        _fit(_model(), lrpet.LRPETCallback(1.0))


def test_a_budget_with_nothing_to_spend_it_on_is_told_before_the_warm_up():
    inputs = keras.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D()(layers.DepthwiseConv2D(3, name="depthwise")(inputs))
    model = keras.Model(inputs, x)
    model.compile("sgd", "mse")
    data = np.zeros((8, 8, 8, 3), "float32"), np.zeros((8, 3), "float32")
    epochs = []
    watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: epochs.append(epoch))
    with pytest.raises(errors.NothingToFactorizeError, match="at any weights"):
        model.fit(*data, epochs=4, verbose=0, callbacks=[lrpet.LRPETCallback(lrpet.MacsBudget(1.0)), watch])
    assert not epochs


@pytest.mark.parametrize(("options", "message"), [
    ({"every": 0}, "`every`.*every=0"), ({"every": "step"}, "`every`.*'step'"), ({"every": 1.5}, "`every`.*1.5"),
    ({"start_epoch": -1}, "`start_epoch`"), ({"energy": "all"}, "`energy`"), ({"tail": 2.0}, "`tail`"),
    ({"damping": -1}, "`damping`"),
])  # fmt: skip
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        lrpet.LRPETCallback(0.5, **options)


def test_a_plan_and_a_rank():
    plan = lrpet.make_plan(_model(), 0.25)
    with pytest.raises(ValueError, match="either a plan or a rank"):
        lrpet.LRPETCallback(0.5, plan=plan)
    with pytest.raises(ValueError, match="either a plan or a rank.*exclude"):
        lrpet.LRPETCallback(plan=plan, exclude="head")


@pytest.mark.parametrize("rank", [0, 1.5, "half", {"conv": 0}])
def test_bad_ranks_are_told_at_once(rank):
    with pytest.raises(errors.RankError):
        lrpet.LRPETCallback(rank)


def test_a_rank_above_the_full_rank():
    with pytest.raises(errors.RankError, match="'conv'.*rank=17"):
        _fit(_model(), lrpet.LRPETCallback(17))


def test_an_unknown_option():
    with pytest.raises(TypeError, match="exlude"):
        lrpet.LRPETCallback(0.5, exlude="head")


def test_a_sequential_without_an_input_is_built_by_its_first_batch():
    model = keras.Sequential([layers.Conv2D(16, 3, name="conv"), layers.Flatten(), layers.Dense(4)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    history = _fit(model, lrpet.LRPETCallback(0.25, every=np.int64(3)), validation_data=_data(32)).history
    assert _rank(model.get_layer("conv")) == 4
    assert len(history["lrpet_energy_kept"]) == 2


def test_energy_kept_is_there_in_every_epoch():
    history = _fit(_model(), lrpet.LRPETCallback(0.25, every=10), epochs=3).history  # 4 steps an epoch
    assert len(history["lrpet_energy_kept"]) == 3


def test_recalibration_refreshes_the_statistics():
    model = _model()
    x, _ = _data()
    _fit(model, lrpet.LRPETCallback(0.25, recalibrate=x))
    features = keras.Model(model.input, model.get_layer("conv").output).predict(x, verbose=0)
    np.testing.assert_allclose(ops.convert_to_numpy(model.get_layer("bn").moving_mean), features.mean((0, 1, 2)), atol=1e-5)


def test_the_time_that_it_took_is_in_the_logs():
    history = _fit(_model(), lrpet.LRPETCallback(0.25, every=1), epochs=3).history["lrpet_time_share"]
    assert all(0.0 < share < 1.0 for share in history)
    history = _fit(_model(), lrpet.LRPETCallback(0.25, start_epoch=1), epochs=2).history["lrpet_time_share"]
    assert history[0] == 0.0
    assert history[1] > 0.0


def test_verbose_prints_the_engines_once(capsys):
    callback = lrpet.LRPETCallback(0.25, include="conv", engine="gram", verbose=True)
    model = _model()
    _fit(model, callback)
    _fit(model, callback)
    assert capsys.readouterr().out.count("1 × 3×3×3×16, channel, rank 4: gram") == 1


def test_an_unknown_engine_is_told_at_once():
    with pytest.raises(ValueError, match="engine.*subspace.*Received: engine='magic'"):
        lrpet.LRPETCallback(0.5, engine="magic")
