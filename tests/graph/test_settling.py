"""Copies of layers that are made of layers, and the layers put in their place."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import lrpet_tf as lrpet
from lrpet_tf.errors import LowRankError
from tests.oracle import relative_difference


class Net(keras.Model):
    """Written as most people write it: no `get_config`, no keyword arguments, layers in lists and dicts."""

    def __init__(self, width):
        super().__init__()
        self.stem = layers.Conv2D(width, 3, padding="same")
        self.branches = {"wide": [layers.Conv2D(width, 3, padding="same"), layers.Conv1D(width, 3, padding="same")]}
        self.pair = (layers.Dense(width), layers.Dense(10))

    def call(self, inputs):
        x = self.stem(inputs)
        x = self.branches["wide"][0](ops.relu(x))
        x = self.branches["wide"][1](ops.mean(x, axis=1))
        return self.pair[1](ops.relu(self.pair[0](ops.mean(x, axis=1))))


def _net(width=16):
    model = Net(width)
    data = np.random.default_rng(0).standard_normal((4, 8, 8, 3)).astype("float32")
    model(data)
    return model, data


def _factorized(model, **options):
    plan = lrpet.make_plan(model, 0.5, keep_if_no_gain=True, **options)
    lrpet.Projector(model, plan).project()
    return lrpet.factorize(model, plan), plan


def _difference(one, other, data):
    return relative_difference(*(ops.convert_to_numpy(each(data)) for each in (one, other)))


@pytest.mark.parametrize("form", ["channel", "spatial", "tucker2"])
def test_every_layer_is_replaced_where_the_code_finds_it(form):
    model, data = _net()
    small, plan = _factorized(model, decomposition=form)
    kinds = [small.stem, *small.branches["wide"], *small.pair]
    own = lrpet.layers
    expected = [own.LowRankConv2D, own.LowRankConv2D, own.FactorChain, own.LowRankDense, own.LowRankDense]
    assert [type(each) for each in kinds] == expected
    assert [each.name for each in kinds] == [each.name for each in (model.stem, *model.branches["wide"], *model.pair)]
    assert _difference(model, small, data) < 1e-5
    assert lrpet.count_params(model) == plan.params
    assert small.count_params() == plan.low_rank_params
    assert {id(v) for v in small.variables}.isdisjoint({id(v) for v in model.variables})
    assert type(model.stem) is layers.Conv2D


def test_it_trains_at_once():
    model, data = _net()
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), "mse")
    small, _ = _factorized(model)
    targets = np.random.default_rng(1).standard_normal((4, 10)).astype("float32")
    losses = small.fit(data, targets, epochs=8, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    assert small.optimizer is not model.optimizer
    assert float(small.optimizer.momentum) == 0.9


def test_weights_are_saved_and_loaded_into_a_fresh_model(tmp_path):
    model, data = _net()
    small, plan = _factorized(model)
    small.save_weights(tmp_path / "small.weights.h5")
    fresh = Net(16)
    fresh(data)
    for inner, source in zip(fresh._flatten_layers(), model._flatten_layers(), strict=True):
        inner.name = source.name  # as in another process
    with pytest.warns(UserWarning, match="not of their planned rank"):
        again = lrpet.factorize(fresh, plan)
    again.load_weights(tmp_path / "small.weights.h5")
    assert _difference(small, again, data) < 1e-6


def test_a_factorized_model_can_be_copied_again():
    model, data = _net()
    small, _ = _factorized(model, include="conv2d.*")
    plan = lrpet.make_plan(small, 0.5, keep_if_no_gain=True)
    assert {layer.layer_type for layer in plan.layers} == {"Conv1D", "Dense"}
    lrpet.Projector(small, plan).project()
    smaller = lrpet.factorize(small, plan)
    assert type(smaller.stem) is lrpet.layers.LowRankConv2D
    assert type(smaller.branches["wide"][1]) is lrpet.layers.FactorChain
    assert _difference(small, smaller, data) < 1e-5


@pytest.mark.tensorflow
def test_mixed_precision_is_kept_and_exported_in_float32(tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model, data = _net()
    keras.config.set_dtype_policy("float32")
    small, _ = _factorized(model)
    assert small.stem.compute_dtype == small.pair[0].compute_dtype == "bfloat16"
    report = lrpet.export_tflite(small, tmp_path / "small.tflite", samples=data)
    assert report.relative_difference < 1e-4


def test_arguments_that_keras_does_not_know_are_no_matter():
    class Holder(layers.Layer):
        def __init__(self, inner):
            super().__init__(name="holder")
            self.inner = inner

        def call(self, inputs):
            return self.inner(inputs)

    inputs = keras.Input((8,))
    model = keras.Model(inputs, Holder(layers.Dense(8, name="dense"))(inputs))
    small, _ = _factorized(model)
    assert type(small.get_layer("holder").inner) is lrpet.layers.LowRankDense
    assert type(model.get_layer("holder").inner) is layers.Dense
    assert _difference(model, small, np.random.default_rng(0).standard_normal((4, 8)).astype("float32")) < 1e-5


def test_a_constructor_that_does_not_take_the_whole_configuration():
    class Scaled(keras.Model):
        def __init__(self, scale):
            super().__init__()
            self.scale = scale
            self.dense = layers.Dense(16, name="dense")

        def call(self, inputs):
            return self.scale * self.dense(inputs)

        def get_config(self):
            return {**super().get_config(), "scale": self.scale}

    model, data = Scaled(3.0), np.random.default_rng(0).standard_normal((4, 8)).astype("float32")
    model(data)
    small, _ = _factorized(model)
    assert type(small.dense) is lrpet.layers.LowRankDense
    assert _difference(model, small, data) < 1e-5


def test_a_layer_that_code_finds_elsewhere_is_named():
    class Hidden(layers.Layer):
        def __init__(self):
            super().__init__(name="hidden")
            dense = layers.Dense(8, name="dense")
            self._layers.append(dense)
            self.apply = lambda x: dense(x)

        def call(self, inputs):
            return self.apply(inputs)

    inputs = keras.Input((8,))
    model = keras.Model(inputs, Hidden()(inputs))
    with pytest.raises(LowRankError, match=r"'dense' inside Hidden 'hidden' cannot be replaced.*exclude"):
        lrpet.factorize(model, lrpet.make_plan(model, 1.0, keep_if_no_gain=True))
