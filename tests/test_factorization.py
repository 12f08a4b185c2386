import pathlib
import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest
from keras import layers

import lrpet_tf as lrpet
from lrpet_tf import errors
from lrpet_tf.graph import read_graph
from lrpet_tf.plan import attach
from tests import models
from tests.oracle import (
    assert_full_rank_is_exact,
    assert_same_outputs,
    flat_outputs,
    relative_difference,
    set_batch_norm_statistics,
)

every_model = pytest.mark.parametrize("make", models.MODELS.values(), ids=models.MODELS)


def _all_layers(model):
    return [layer for layer in model._flatten_layers() if not isinstance(layer, (keras.Model, layers.InputLayer))]


def _low_rank(make, rank=0.5):
    """Makes a model whose kernels are of the planned ranks, as training leaves them."""
    model, data = make()
    set_batch_norm_statistics(model)
    plan = lrpet.make_plan(model, rank, keep_if_no_gain=True)
    lrpet.Projector(model, plan).project()
    return model, data, plan


@every_model
def test_full_rank_reproduces_the_outputs(make):
    model, data = make()
    set_batch_norm_statistics(model)
    small = lrpet.factorize(model, lrpet.make_plan(model, 1.0, keep_if_no_gain=True))
    assert_same_outputs(model, small, data)


@every_model
def test_trained_ranks_reproduce_the_outputs_and_the_planned_cost(make):
    model, data, plan = _low_rank(make)
    small = lrpet.factorize(model, plan)
    assert_same_outputs(model, small, data)
    assert lrpet.count_macs(small) == plan.low_rank_macs
    assert lrpet.count_params(small) == plan.low_rank_params
    assert [tensor.shape for tensor in small.outputs] == [tensor.shape for tensor in model.outputs]


@every_model
def test_every_planned_layer_is_rewritten_in_stock_layers(make):
    model, _, plan = _low_rank(make)
    small = lrpet.factorize(model, plan)
    names = {layer.name for layer in _all_layers(small)}
    for planned in plan.layers:
        assert {planned.path.split("/")[-1], planned.path.split("/")[-1] + "_factor0"} <= names
    assert not [layer for layer in _all_layers(small) if type(layer).__module__.startswith("lrpet_tf")]


@every_model
def test_the_source_is_untouched_and_nothing_is_shared(make):
    model, data, plan = _low_rank(make)
    before = [np.array(weight) for weight in model.get_weights()]
    config, outputs = model.to_json(), flat_outputs(model, data)
    nodes = [len(layer._inbound_nodes) for layer in _all_layers(model)]
    small = lrpet.factorize(model, plan)
    for variable in small.variables:
        variable.assign(variable + 1)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert model.to_json() == config
    assert [len(layer._inbound_nodes) for layer in _all_layers(model)] == nodes
    for old, new in zip(outputs, flat_outputs(model, data), strict=True):
        np.testing.assert_array_equal(old, new)
    assert not {id(v) for v in model.variables} & {id(v) for v in small.variables}
    assert not {id(layer) for layer in _all_layers(model)} & {id(layer) for layer in _all_layers(small)}


@every_model
def test_untouched_layers_keep_their_weights_to_the_bit(make):
    model, _, plan = _low_rank(make)
    small = lrpet.factorize(model, plan)
    planned = {layer.path for layer in plan.layers}
    copies = read_graph(small).layers()
    for path, layer in read_graph(model).layers().items():
        if path in planned or type(layer).__module__.startswith("lrpet_tf"):
            continue
        assert type(layer) is type(copies[path])
        for old, new in zip(getattr(layer, "variables", ()), getattr(copies[path], "variables", ()), strict=True):
            np.testing.assert_array_equal(keras.ops.convert_to_numpy(old), keras.ops.convert_to_numpy(new))


_LOADER = """
import sys
import keras, numpy as np
model = keras.models.load_model(sys.argv[1])
assert not [name for name in sys.modules if name.startswith("lrpet_tf")]
data = dict(np.load(sys.argv[2]))
inputs = [data[key] for key in sorted(data)]
np.save(sys.argv[3], model.predict(inputs[0], verbose=0))
"""


@pytest.mark.parametrize("make", [models.nested, models.own_layers], ids=["nested", "own layers"])
def test_the_saved_file_loads_without_this_library(tmp_path, make):
    model, data, plan = _low_rank(make)
    small = lrpet.factorize(model, plan)
    small.save(tmp_path / "small.keras")
    np.savez(tmp_path / "data.npz", data)
    command = [sys.executable, "-c", _LOADER, *(str(tmp_path / name) for name in ("small.keras", "data.npz", "out.npy"))]
    subprocess.run(command, check=True, cwd=tmp_path, capture_output=True)
    assert relative_difference(small.predict(data, verbose=0), np.load(tmp_path / "out.npy")) < 1e-6
    assert pathlib.Path(tmp_path / "small.keras").stat().st_size > 0


def test_names_trainability_and_settings_are_carried_over():
    inputs = keras.Input((12, 12, 3))
    frozen = layers.Conv2D(16, 3, name="frozen", kernel_regularizer="l2", bias_constraint="non_neg", trainable=False)
    x = layers.Conv2D(16, 3, name="free", dtype="mixed_bfloat16")(frozen(inputs))
    model = keras.Model(inputs, x)
    small = lrpet.factorize(model, lrpet.make_plan(model, 1.0, keep_if_no_gain=True))
    for name in ("frozen", "frozen_factor0"):
        layer = small.get_layer(name)
        assert not layer.trainable
        assert isinstance(layer.kernel_regularizer, keras.regularizers.L2)
    assert isinstance(small.get_layer("frozen").bias_constraint, keras.constraints.NonNeg)
    for name in ("free", "free_factor0"):
        assert small.get_layer(name).trainable
        assert small.get_layer(name).dtype_policy.name == "mixed_bfloat16"
    assert [v.path for v in small.trainable_variables] == ["free_factor0/kernel", "free/kernel", "free/bias"]


def test_a_frozen_nested_model_stays_frozen():
    model, _ = models.nested()
    model.get_layer("block").trainable = False
    small = lrpet.factorize(model, lrpet.make_plan(model, 1.0, keep_if_no_gain=True))
    assert not small.get_layer("block").trainable
    assert not small.get_layer("block").trainable_variables
    assert small.get_layer("stem").trainable


def test_the_small_model_trains(rng):
    model, data, plan = _low_rank(models.residual)
    small = lrpet.factorize(model, plan)
    small.compile("adam", "mse")
    losses = small.fit(data, rng.standard_normal((4, 5)), epochs=5, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


def test_mixed_precision_outputs_agree_to_its_own_rounding():
    model, data, plan = _low_rank(models.mixed_precision)
    small = lrpet.factorize(model, plan)
    assert_same_outputs(model, small, data, tolerance=3e-2)
    assert small.get_layer("stem").compute_dtype == "bfloat16"


@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("scale", [0.0, 1e-8])
def test_a_collapsed_layer_becomes_a_constant_branch(rng, batch_norm, scale):
    inputs = keras.Input((12, 12, 3))
    x = layers.Conv2D(16, 3, strides=2, name="conv", activation=None if batch_norm else "relu")(inputs)
    if batch_norm:
        x = layers.BatchNormalization(name="bn")(x)
    model = keras.Model(inputs, x)
    set_batch_norm_statistics(model)
    kernel, bias = model.get_layer("conv").kernel, model.get_layer("conv").bias
    kernel.assign(scale * rng.standard_normal(kernel.shape))
    bias.assign(rng.uniform(0.5, 1.0, bias.shape))
    small = lrpet.factorize(model, lrpet.make_plan(model, 0.5))
    data = rng.standard_normal((4, 12, 12, 3)).astype("float32")
    assert_same_outputs(model, small, data)
    assert small.get_layer("conv").kernel.shape == (1, 1, 1, 16)  # one channel instead of eight
    received = small.predict(data, verbose=0)
    np.testing.assert_array_equal(received, np.broadcast_to(received[:1, :1, :1], received.shape))


def test_a_collapsed_kernel_that_its_batch_norm_revives_is_no_constant(rng):
    inputs = keras.Input((12, 12, 3))
    model = keras.Model(inputs, layers.BatchNormalization(name="bn", epsilon=1e-14)(layers.Conv2D(16, 3, name="conv")(inputs)))
    model.get_layer("conv").kernel.assign(1e-7 * rng.standard_normal((3, 3, 3, 16)))
    model.get_layer("bn").moving_variance.assign(np.full(16, 1e-13))
    plan = lrpet.make_plan(model, 0.5)
    lrpet.Projector(model, plan).project()
    assert_same_outputs(model, lrpet.factorize(model, plan), rng.standard_normal((4, 12, 12, 3)).astype("float32"))


def test_without_a_plan_the_one_left_on_the_model_is_used():
    model, data, plan = _low_rank(models.residual)
    attach(model, plan)
    small = lrpet.factorize(model)
    assert lrpet.count_macs(small) == plan.low_rank_macs
    assert_same_outputs(model, small, data)


def test_without_any_plan_the_numerical_rank_is_read(tmp_path):
    model, data, _ = _low_rank(models.residual, rank=0.3)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    small = lrpet.factorize(loaded)
    assert small.get_layer("body_factor0").filters == 4  # floor(0.3 * 16)
    assert_same_outputs(model, small, data)


def test_a_dense_model_without_a_plan_is_a_clear_error():
    model, _ = models.residual()
    with pytest.raises(errors.NothingToFactorizeError, match="no plan.*LRPETCallback.*make_plan"):
        lrpet.factorize(model)


def test_an_empty_plan_copies_the_model_and_says_so():
    model, data = models.residual()
    with pytest.warns(UserWarning, match="no layers"):
        small = lrpet.factorize(model, lrpet.make_plan(model, 1.0))
    assert_same_outputs(model, small, data, tolerance=1e-7)


def test_kernels_that_were_not_projected_are_reported():
    model, _ = models.residual()
    with pytest.warns(UserWarning, match="3 of 3 kernels are not of their planned rank.*loses .* %"):
        lrpet.factorize(model, lrpet.make_plan(model, 0.5, keep_if_no_gain=True))


def test_projected_kernels_raise_no_warning():
    model, _, plan = _low_rank(models.residual)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        lrpet.factorize(model, plan)


def test_a_plan_of_another_model():
    model, _ = models.residual()
    other, _ = models.sequential()
    with pytest.raises(errors.PlanMismatchError, match="another model.*'conv1'.*'residual'.*make_plan"):
        lrpet.factorize(model, lrpet.make_plan(other, 0.5))


def test_a_plan_of_the_same_names_and_other_shapes():
    def build(filters):
        return keras.Sequential([keras.Input((12, 12, 3)), layers.Conv2D(filters, 3, name="conv")], name="net")

    with pytest.raises(errors.PlanMismatchError, match=r"\(3, 3, 3, 24\).*\(3, 3, 3, 16\).*'conv'"):
        lrpet.factorize(build(24), lrpet.make_plan(build(16), 0.25))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_kernel_that_is_not_finite(value):
    model, _ = models.residual()
    plan = lrpet.make_plan(model, 0.5)
    kernel = np.array(model.get_layer("body").kernel)
    kernel[0, 0, 0, 0] = value
    model.get_layer("body").kernel.assign(kernel)
    with pytest.raises(errors.NonFiniteKernelError, match="'body'"):
        lrpet.factorize(model, plan)
    with pytest.raises(errors.NonFiniteKernelError, match="'body'"):
        lrpet.factorize(model)


def test_a_name_that_is_taken_already():
    inputs = keras.Input((12, 12, 3))
    x = layers.Conv2D(16, 3, name="conv")(inputs)
    model = keras.Model(inputs, layers.Conv2D(16, 3, name="conv_factor0")(x))
    plan = lrpet.make_plan(model, 0.25)
    lrpet.Projector(model, plan).project()
    small = lrpet.factorize(model, plan)
    assert len({layer.name for layer in small.layers}) == 5
    assert_same_outputs(model, small, models._images())


def test_own_layers_with_groups_become_stock_layers(rng):
    model = keras.Sequential([keras.Input((8, 8, 6)), lrpet.layers.LRPETConv2D(6, 3, rank=0.5, groups=3), layers.Flatten()])
    model.add(layers.Dense(8, name="dense"))
    small = assert_full_rank_is_exact(model, rng.standard_normal((4, 8, 8, 6)).astype("float32"))
    assert small.layers[0].groups == 3


def test_own_layers_inside_a_wrapper_become_stock_layers(rng, tmp_path):
    wrapped = layers.TimeDistributed(lrpet.layers.LowRankDense(6, rank=2, name="inside"))
    model = keras.Sequential([keras.Input((5, 8)), layers.Dense(8), wrapped])
    data = rng.standard_normal((4, 5, 8)).astype("float32")
    small = assert_full_rank_is_exact(model, data)
    assert not [layer for layer in small._flatten_layers() if type(layer).__module__.startswith("lrpet_tf")]
    small.save(tmp_path / "small.keras")
    assert_same_outputs(small, keras.models.load_model(tmp_path / "small.keras"), data)


def test_names_of_inputs_and_nested_models_are_taken_too(rng):
    inputs = keras.Input((8,), name="a_factor0")
    model = keras.Model(inputs, layers.Dense(8, name="a")(inputs))
    small = assert_full_rank_is_exact(model, rng.standard_normal((4, 8)).astype("float32"))
    assert small.layers[0].name == "a_factor0"


def test_unnamed_inputs_keep_their_names():
    model, _ = models.residual()
    small = lrpet.factorize(model, lrpet.make_plan(model, 1.0, keep_if_no_gain=True))
    assert small.layers[0].name == model.layers[0].name


def test_a_call_of_ones_own_is_not_ignored(rng):
    class Doubled(keras.Model):
        def call(self, inputs, training=None, mask=None):
            return 2 * super().call(inputs, training=training, mask=mask)

    inputs = keras.Input((8,))
    model = Doubled(inputs, layers.Dense(8)(inputs))
    data = rng.standard_normal((4, 8)).astype("float32")
    small = lrpet.factorize(model, lrpet.make_plan(model, 1.0, keep_if_no_gain=True))
    assert_same_outputs(model, small, data)
    assert relative_difference(2 * model.layers[-1](data), small(data)) < 1e-5


def test_a_training_step_of_ones_own_is_fine(rng):
    class Trained(keras.Model):
        def train_step(self, data):
            return super().train_step(data)

    inputs = keras.Input((8,))
    assert_full_rank_is_exact(Trained(inputs, layers.Dense(8)(inputs)), rng.standard_normal((4, 8)).astype("float32"))


@pytest.mark.parametrize("plan", [0.5, "plan.json"])
def test_what_is_no_plan(plan):
    model, _ = models.residual()
    for use in (lrpet.factorize, lrpet.Projector):
        with pytest.raises(errors.LowRankError, match="Expected a plan.*Received: plan="):
            use(model, plan)
    with pytest.raises(errors.LowRankError, match="Expected a plan"):
        lrpet.LRPETCallback(plan=plan)


def test_a_plan_that_was_tampered_with():
    model, _ = models.residual()
    plan = lrpet.make_plan(model, 0.25)
    text = plan.to_json()
    with pytest.raises(errors.RankError, match="rank=400"):
        lrpet.factorize(model, lrpet.Plan.from_json(text.replace('"rank": 4,', '"rank": 400,')))
    with pytest.raises(errors.PlanMismatchError, match="no batch norm"):
        lrpet.factorize(model, lrpet.Plan.from_json(text.replace('"batch_norm": "stem_bn"', '"batch_norm": "head"')))
