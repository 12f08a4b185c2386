import copy
import os
import pathlib
import pickle
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers, ops
from keras.optimizers import SGD, AdamW, LossScaleOptimizer, schedules

import lrpet_tf as lrpet
from lrpet_tf import errors
from lrpet_tf.adapters import DenseAdapter
from tests import oracle

BATCH = 16
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
JAX = keras.backend.backend() == "jax"
COMPILES = keras.backend.backend() != "torch"


def network(filters=8):
    """A network whose projections are quick to compile; those of more filters start from the last one."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name="conv")(inputs)
    x = layers.Activation("tanh")(layers.BatchNormalization(momentum=0.5, name="bn")(x))
    return keras.Model(inputs, layers.Dense(4, name="head")(layers.GlobalAveragePooling2D()(x)))


def batches(first, last):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((12 * BATCH, 6, 6, 3)).astype("float32"), rng.integers(0, 4, 12 * BATCH)
    return x[first * BATCH : last * BATCH], y[first * BATCH : last * BATCH]


def projecting(optimizer, every=2, *, filters=8, include="conv", options=None, **compile_options):
    """A network that is compiled with an optimizer that projects; `optimizer` may be a function of the wrapper."""
    model = network(filters)
    plan = lrpet.make_plan(model, 0.25, include=include)

    def wrap(inner):
        return lrpet.ProjectingOptimizer(inner, plan, every=every, **(options or {}))

    made = optimizer(wrap) if callable(optimizer) else wrap(optimizer)
    model.compile(made, LOSS, **compile_options)
    return model


def train(model, first=0, last=5):
    model.fit(*batches(first, last), batch_size=BATCH, shuffle=False, verbose=0)
    return model


def step_by_step(model, count, project=None, every=2):
    """Trains batch by batch; returns the rank of the convolution after each."""
    ranks = []
    for step in range(1, count + 1):
        model.train_on_batch(*batches(step - 1, step))
        if project is not None and step % every == 0:
            project(model)
        ranks.append(rank(model))
    return ranks


def project_by_hand(model, paths=("conv",), rectify=True, **options):
    for path in paths:
        layer, gain = model.get_layer(path), None
        if path == "conv" and rectify:
            bn = model.get_layer("bn")
            gain = array(bn.gamma) / np.sqrt(array(bn.moving_variance) + bn.epsilon)
        kernel = array(layer.kernel)
        matrix = kernel.reshape(-1, kernel.shape[-1])
        projected = oracle.truncated(matrix, kernel.shape[-1] // 4, gain, **options)[0]
        layer.kernel.assign(projected.reshape(kernel.shape))


def by_hand(optimizer, steps=5, every=2, project=project_by_hand, filters=8):
    model = network(filters)
    model.compile(optimizer, LOSS)
    step_by_step(model, steps, project, every)
    return model


def array(variable):
    return ops.convert_to_numpy(ops.cast(variable, "float32")).astype("float64")


def rank(model, path="conv"):
    kernel = array(model.get_layer(path).kernel)
    values = np.linalg.svd(kernel.reshape(-1, kernel.shape[-1]), compute_uv=False)
    return int(np.count_nonzero(values > 1e-5 * values[0]))


def assert_same_weights(model, expected, tolerance=2e-5):
    for received, weight in zip(model.weights, expected.weights, strict=True):
        np.testing.assert_allclose(array(received), array(weight), atol=tolerance, err_msg=weight.path)


def _momentum():
    return SGD(0.1, momentum=0.9)


@pytest.mark.parametrize("options", [
    {"jit_compile": JAX},
    pytest.param({"steps_per_execution": 5, "jit_compile": True}, marks=pytest.mark.skipif(not COMPILES, reason="compiles")),
    {"run_eagerly": True},
], ids=["compiled", "XLA, five steps at once", "eager"])  # fmt: skip
def test_equals_steps_and_projections_by_hand(options):
    paths = ["conv", "head"]
    expected = by_hand(_momentum(), project=lambda model: project_by_hand(model, paths), filters=12)
    assert_same_weights(train(projecting(_momentum(), include=paths, filters=12, **options)), expected)


@pytest.mark.parametrize(
    "options", [{"tail": 0.3}, {"energy": "raw"}, {"damping": 1e-2}, {"engine": "svd"}, {"bn_rectify": False}]
)
def test_options_are_those_of_the_projector(options):
    formula = {name: value for name, value in options.items() if name in ("tail", "energy", "damping")}
    rectify = options.get("bn_rectify", True)
    expected = by_hand(_momentum(), 3, 3, lambda model: project_by_hand(model, rectify=rectify, **formula))
    assert_same_weights(train(projecting(_momentum(), 3, options=options), 0, 3), expected)


def test_projects_exactly_at_the_multiples_of_every():
    assert step_by_step(projecting(SGD(0.1), every=3), 7) == [8, 8, 2, 8, 8, 2, 8]


def test_equals_a_projector_in_a_loop():
    plain = network(12)
    plain.compile(_momentum(), LOSS)
    projector = lrpet.Projector(plain, lrpet.make_plan(plain, 0.25, include="conv"))
    step_by_step(plain, 6, lambda model: projector.project())
    assert_same_weights(train(projecting(_momentum(), filters=12), 0, 6), plain, 1e-6)


def _decaying():
    return AdamW(schedules.ExponentialDecay(0.02, 1, 0.8), weight_decay=0.1, clipnorm=0.5)


def _excluding(wrap=lambda optimizer: optimizer):
    optimizer = wrap(_decaying())
    optimizer.exclude_from_weight_decay(var_names=["kernel"])
    return optimizer


@pytest.mark.parametrize(("wrapped", "plain"), [
    (lambda wrap: wrap(_decaying()), _decaying),
    (_excluding, _excluding),
    (lambda wrap: wrap(SGD(0.1, loss_scale_factor=64.0)), lambda: SGD(0.1)),
    (lambda wrap: wrap(LossScaleOptimizer(SGD(0.1), initial_scale=8.0)), lambda: SGD(0.1)),
    (lambda wrap: LossScaleOptimizer(wrap(SGD(0.1)), initial_scale=8.0), lambda: SGD(0.1)),
    (lambda wrap: LossScaleOptimizer(wrap(SGD(0.1, loss_scale_factor=64.0)), initial_scale=8.0), lambda: SGD(0.1)),
], ids=["schedule and decay", "excluded", "fixed scale", "loss scale inside", "loss scale outside", "both scales"])  # fmt: skip
def test_what_the_optimizer_inside_does_passes_through(wrapped, plain):
    assert_same_weights(train(projecting(wrapped)), by_hand(plain()))


def test_attributes_are_those_of_the_optimizer_inside():
    model = projecting(lambda wrap: wrap(LossScaleOptimizer(AdamW(0.1, weight_decay=0.2, clipnorm=3.0))))
    optimizer, inner = model.optimizer, model.optimizer.inner_optimizer.inner_optimizer
    assert (optimizer.weight_decay, optimizer.clipnorm, optimizer.use_ema) == (0.2, 3.0, False)
    optimizer.weight_decay, optimizer.learning_rate = 0.3, 0.5
    assert (inner.weight_decay, float(array(inner.learning_rate))) == (0.3, 0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    assert inner._exclude_from_weight_decay_pattern.pattern == "bias"
    train(model, 0, 3)
    assert int(array(optimizer.iterations)) == int(array(inner.iterations)) == 3


def test_learning_rate_callbacks():
    model = projecting(SGD(0.1))
    halve = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
    model.fit(*batches(0, 1), epochs=3, verbose=0, callbacks=[halve])
    assert float(array(model.optimizer.inner_optimizer.learning_rate)) == pytest.approx(0.0125)


@pytest.mark.parametrize("wrapped", [
    lambda wrap: wrap(SGD(0.1)),
    lambda wrap: wrap(LossScaleOptimizer(SGD(0.1))),
    lambda wrap: LossScaleOptimizer(wrap(SGD(0.1))),
], ids=["by Keras", "inside", "outside"])  # fmt: skip
def test_mixed_precision_scales_the_loss_once(wrapped):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = projecting(wrapped)
        plain = network()
    finally:
        keras.config.set_dtype_policy("float32")
    plain.compile(SGD(0.1), LOSS)
    step_by_step(plain, 4, project_by_hand)
    train(model, 0, 4)
    assert rank(model) == 2
    assert_same_weights(model, plain, 1e-3)


def test_accumulated_gradients_count_as_one_update():
    model = projecting(SGD(0.1, gradient_accumulation_steps=2))
    assert step_by_step(model, 8) == [8, 8, 8, 2, 2, 8, 8, 2]


def test_averages_are_projected_when_they_take_the_place_of_the_weights():
    model = train(projecting(SGD(0.1, use_ema=True, ema_momentum=0.5), every=3))
    assert rank(model) == 2


def test_a_loaded_model_trains_on_as_if_it_had_never_been_saved(tmp_path):
    model = train(projecting(_decaying()), 0, 5)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.optimizer.get_config() == model.optimizer.get_config()
    assert loaded.optimizer.plan == model.optimizer.plan
    assert int(array(loaded.optimizer.iterations)) == 5
    assert_same_weights(train(loaded, 5, 9), train(model, 5, 9), 1e-6)
    for received, variable in zip(loaded.optimizer.variables, model.optimizer.variables, strict=True):
        np.testing.assert_allclose(array(received), array(variable), atol=1e-6)
    assert lrpet.factorize(loaded).count_params() < model.count_params()  # the plan is there too


def test_a_loss_scale_is_loaded_too(tmp_path):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = train(projecting(lambda wrap: wrap(LossScaleOptimizer(_momentum()))), 0, 3)
        model.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
    finally:
        keras.config.set_dtype_policy("float32")
    assert_same_weights(train(loaded, 3, 6), train(model, 3, 6), 1e-5)


def test_copies_train_on_by_themselves():
    model = train(projecting(_momentum()), 0, 3)
    copies = copy.deepcopy(model), pickle.loads(pickle.dumps(model))
    train(model, 3, 6)
    for each in copies:
        assert_same_weights(train(each, 3, 6), model, 1e-6)


def test_paths_of_variables_are_unique():
    model = projecting(SGD(0.1), include=["conv", "head"])
    model.optimizer.build(model.trainable_variables)
    paths = [variable.path for variable in model.optimizer.variables]
    assert len(paths) == len(set(paths))


def test_compiling_with_other_optimizers():
    model = projecting(SGD(0.1), every=1)
    assert step_by_step(model, 2) == [2, 2]
    plan = model.optimizer.plan
    model.compile(SGD(0.1), LOSS)
    assert step_by_step(model, 2) == [8, 8]
    model.compile(lrpet.ProjectingOptimizer(SGD(0.1), plan, every=3), LOSS)
    assert step_by_step(model, 4) == [8, 8, 2, 8]
    model.compile(model.optimizer, LOSS)  # the same one goes on
    assert step_by_step(model, 2) == [8, 2]
    used = model.optimizer.inner_optimizer
    model.compile(lrpet.ProjectingOptimizer(used, plan, every=4), LOSS)
    assert step_by_step(model, 2) == [8, 2]  # its steps 7 and 8
    assert model.optimizer.inner_optimizer is used


class OwnStep(keras.Model):
    """A model with a training step of its own, which skips Keras's."""

    if JAX:

        def train_step(self, state, data):
            import jax

            trainable, non_trainable, optimizer, metrics = state
            x, y = data[:2]

            def loss(trainable):
                outputs, after = self.stateless_call(trainable, non_trainable, x, training=True)
                return LOSS(y, outputs), after

            (value, after), gradients = jax.value_and_grad(loss, has_aux=True)(trainable)
            trainable, optimizer = self.optimizer.stateless_apply(optimizer, gradients, trainable)
            return {"loss": value}, (trainable, after, optimizer, metrics)

    else:

        def train_step(self, data):
            import tensorflow as tf

            x, y = data
            with tf.GradientTape() as tape:
                value = LOSS(y, self(x, training=True))
            self.optimizer.apply(tape.gradient(value, self.trainable_variables), self.trainable_variables)
            return {"loss": value}


@pytest.mark.skipif(not COMPILES, reason="the step is written for TensorFlow and for JAX")
def test_a_training_step_of_ones_own():
    plain = network()
    model = OwnStep(plain.inputs, plain.outputs)
    plan = lrpet.make_plan(model, 0.25, include="conv")
    model.compile(lrpet.ProjectingOptimizer(_momentum(), plan, every=2), LOSS)
    assert_same_weights(train(model), by_hand(_momentum()))


def test_a_sequential_without_an_input():
    parts = [layers.Conv2D(8, 3, name="conv"), layers.Flatten(), layers.Dense(4, name="head")]
    built = keras.Sequential(parts)
    built.build((None, 6, 6, 3))
    plan = lrpet.make_plan(built, 0.25, include="conv")
    model = keras.Sequential([layers.Conv2D(8, 3, name="conv"), layers.Flatten(), layers.Dense(4, name="head")])
    model.compile(lrpet.ProjectingOptimizer(SGD(0.1), plan, every=2), LOSS)
    assert rank(train(model, 0, 4)) == 2


def test_a_factorized_model_has_the_optimizer_inside():
    model = train(projecting(lambda wrap: LossScaleOptimizer(wrap(_momentum()))), 0, 4)
    small = lrpet.factorize(model)
    assert isinstance(small.optimizer, LossScaleOptimizer)
    assert isinstance(small.optimizer.inner_optimizer, SGD)
    assert small.optimizer.inner_optimizer.momentum == 0.9
    before = [array(weight) for weight in model.weights]
    train(small, 4, 6)
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(array(weight), value)


@pytest.mark.tensorflow
def test_a_loop_of_ones_own():
    import tensorflow as tf

    model = network()
    plan = lrpet.make_plan(model, 0.25, include="conv")
    optimizer = lrpet.ProjectingOptimizer(_momentum(), plan, every=2, model=model)

    def step(x, y):
        with tf.GradientTape() as tape:
            value = LOSS(y, model(x, training=True))
        optimizer.apply_gradients(zip(tape.gradient(value, model.trainable_variables), model.trainable_variables, strict=True))

    compiled = tf.function(step)
    for index in range(5):
        (step if index < 2 else compiled)(*batches(index, index + 1))
    assert_same_weights(model, by_hand(_momentum()))


@pytest.mark.skipif(not JAX, reason="stateless optimizers")
@pytest.mark.parametrize("kind", ["functional", "eager"])
def test_a_loop_of_ones_own_on_jax(kind):
    import jax

    model = network()
    plan = lrpet.make_plan(model, 0.25, include="conv")
    optimizer = lrpet.ProjectingOptimizer(_momentum(), plan, every=2, model=model)
    optimizer.build(model.trainable_variables)

    def loss(trainable, non_trainable, x, y):
        outputs, non_trainable = model.stateless_call(trainable, non_trainable, x, training=True)
        return LOSS(y, outputs), non_trainable

    @jax.jit
    def functional(state, x, y):
        trainable, non_trainable, optimizer_values = state
        gradients, non_trainable = jax.grad(loss, has_aux=True)(trainable, non_trainable, x, y)
        trainable, optimizer_values = optimizer.stateless_apply(optimizer_values, gradients, trainable, non_trainable)
        return trainable, non_trainable, optimizer_values

    groups = model.trainable_variables, model.non_trainable_variables, optimizer.variables
    state = tuple([variable.value for variable in group] for group in groups)
    for index in range(5):
        data = batches(index, index + 1)
        if kind == "functional":
            state = functional(state, *data)
            continue
        values = [[variable.value for variable in group] for group in groups[:2]]
        gradients, after = jax.grad(loss, has_aux=True)(*values, *data)
        for variable, value in zip(groups[1], after, strict=True):
            variable.assign(value)
        optimizer.apply(gradients, model.trainable_variables)
    if kind == "functional":
        for group, values in zip(groups, state, strict=True):
            for variable, value in zip(group, values, strict=True):
                variable.assign(value)
    assert_same_weights(model, by_hand(_momentum()))


@pytest.mark.skipif(not JAX, reason="stateless optimizers")
def test_a_functional_step_without_the_moving_statistics():
    model = network()
    plan = lrpet.make_plan(model, 0.25)
    values = [variable.value for variable in model.trainable_variables]
    for options, fails in (({}, True), ({"bn_rectify": False}, False)):
        optimizer = lrpet.ProjectingOptimizer(SGD(0.1), plan, every=1, model=model, **options)
        optimizer.build(model.trainable_variables)
        arguments = [variable.value for variable in optimizer.variables], values, values
        if fails:
            with pytest.raises(errors.LowRankError, match=r"'bn/moving_mean' was not given.*non_trainable_variables"):
                optimizer.stateless_apply(*arguments)
        else:
            kernel = np.asarray(optimizer.stateless_apply(*arguments)[0][0]).reshape(-1, 8)
            assert np.linalg.matrix_rank(kernel, tol=1e-5) == 2


def _run(code, **environment):
    root = pathlib.Path(__file__).parents[2]
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(root)!r})\n{code}"]
    result = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, cwd=root)
    assert result.returncode == 0, result.stderr[-4000:]


MIRRORED = """
import numpy as np
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from tests.training.test_optimizer import *

with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    model = projecting(lambda wrap: LossScaleOptimizer(wrap(SGD(0.1, momentum=0.9)), initial_scale=8.0), filters=12)
for step, expected in enumerate([12, 3, 12, 3]):
    train(model, step, step + 1)
    assert rank(model) == expected, step
    first, second = (value.numpy() for value in model.get_layer("conv").kernel.value.values)
    assert np.array_equal(first, second)
"""


@pytest.mark.tensorflow
def test_replicas_of_a_mirrored_strategy_have_equal_kernels():
    _run(MIRRORED)


SHARDED = """
from tests.training.test_optimizer import *
expected = train(projecting(SGD(0.1, momentum=0.9), include=["conv", "head"], filters=12))
keras.distribution.set_distribution(keras.distribution.DataParallel())
model = train(projecting(SGD(0.1, momentum=0.9), include=["conv", "head"], filters=12))
assert len(model.get_layer("conv").kernel.value.sharding.device_set) == 4
assert_same_weights(model, expected)
lrpet.Projector(model, model.optimizer.plan).project()
"""


@pytest.mark.skipif(not JAX, reason="shards arrays")
def test_sharded_arrays():
    _run(SHARDED, XLA_FLAGS="--xla_force_host_platform_device_count=4")


class Poison(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        kernel = array(self.model.get_layer("head").kernel)
        kernel[0, 0] = np.nan
        self.model.get_layer("head").kernel.assign(kernel)


def test_a_kernel_that_is_not_finite():
    if COMPILES:
        model = projecting(SGD(0.0), every=1, include=["conv", "head"])
        model.fit(*batches(0, 1), verbose=0, callbacks=[Poison()])
        assert np.isnan(array(model.get_layer("head").kernel)).any()
    if not JAX:
        model = projecting(SGD(0.0), every=1, include=["conv", "head"], run_eagerly=True)
        with pytest.raises(errors.NonFiniteKernelError, match="layer"):
            model.fit(*batches(0, 1), verbose=0, callbacks=[Poison()])


@pytest.mark.parametrize("every", [0, -3, 1.5, True, "epoch", None])
def test_bad_periods(every):
    with pytest.raises(errors.LowRankError, match=f"`every` must be a whole number.*every={every!r}"):
        lrpet.ProjectingOptimizer(SGD(), lrpet.make_plan(network(), 0.25), every=every)


@pytest.mark.parametrize("optimizer", ["no such optimizer", 0.1, None, SGD, network])
def test_no_optimizer(optimizer):
    with pytest.raises(errors.LowRankError, match="Expected a Keras optimizer"):
        lrpet.ProjectingOptimizer(optimizer, lrpet.make_plan(network(), 0.25))


def test_names_of_optimizers():
    assert rank(train(projecting("adam"), 0, 2)) == 2


def test_a_projecting_optimizer_inside_another():
    plan = lrpet.make_plan(network(), 0.25)
    with pytest.raises(errors.LowRankError, match="already.*inner_optimizer"):
        lrpet.ProjectingOptimizer(LossScaleOptimizer(lrpet.ProjectingOptimizer(SGD(), plan)), plan)


@pytest.mark.parametrize("plan", [0.5, None, "plan.json", {}])
def test_no_plan(plan):
    with pytest.raises(errors.LowRankError, match="Expected a plan"):
        lrpet.ProjectingOptimizer(SGD(), plan)


@pytest.mark.parametrize("options", [{"energy": "all"}, {"tail": 2.0}, {"damping": -1.0}, {"engine": "fast"}])
def test_bad_options(options):
    with pytest.raises(ValueError, match=f"`{next(iter(options))}`"):
        lrpet.ProjectingOptimizer(SGD(), lrpet.make_plan(network(), 0.25), **options)


def test_an_empty_plan():
    with pytest.raises(errors.NothingToFactorizeError, match="no layers"):
        lrpet.ProjectingOptimizer(SGD(), lrpet.make_plan(network(), 1.0))


def test_a_plan_of_another_model():
    other = keras.Sequential([keras.Input((6,)), layers.Dense(12, name="dense")])
    plan = lrpet.make_plan(other, 0.25)
    model = network()
    with pytest.raises(errors.PlanMismatchError, match="'dense'"):
        lrpet.ProjectingOptimizer(SGD(), plan, model=model)
    model.compile(lrpet.ProjectingOptimizer(SGD(), plan), LOSS)
    with pytest.raises(errors.PlanMismatchError, match="'dense'"):
        train(model)


def test_no_model():
    model = network()
    plan = lrpet.make_plan(model, 0.25)
    with pytest.raises(errors.LowRankError, match=r"no compiled model.*model=model"):
        lrpet.ProjectingOptimizer(SGD(), plan).build(model.trainable_variables)
    with pytest.raises(errors.UnsupportedModelError, match="`model` is something else"):
        lrpet.ProjectingOptimizer(SGD(), plan, model="conv")


@keras.saving.register_keras_serializable(package="tests")
class Own(layers.Dense):
    pass


def test_adapters_are_not_saved(tmp_path):
    model = keras.Sequential([keras.Input((16,)), Own(16, name="own"), layers.Dense(4)])
    plan = lrpet.make_plan(model, 0.25, adapters={Own: DenseAdapter()}, include="own")
    model.compile(lrpet.ProjectingOptimizer(SGD(0.1), plan, every=1), LOSS)
    model.fit(np.ones((4, 16)), np.zeros(4), verbose=0)
    assert rank(model, "own") == 4
    model.save(tmp_path / "model.keras")
    with pytest.raises(errors.MissingAdapterError, match="'own'.*compile=False"):
        keras.models.load_model(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    loaded.compile(lrpet.ProjectingOptimizer(SGD(0.1), plan, every=1), LOSS)
    loaded.fit(np.ones((4, 16)), np.zeros(4), verbose=0)
