import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keras import layers

from lrpet_tf import errors, interop
from tests import models
from tests.graphs import Builder
from tests.interop import nets
from tests.test_random_graphs import draw

pytestmark = pytest.mark.tensorflow


@pytest.mark.parametrize("make", nets.CARRIED.values(), ids=nets.CARRIED)
def test_the_outputs_are_the_same(make):
    import tf_keras

    model, data = make()
    copy = interop.to_tf_keras(model)
    assert isinstance(copy, tf_keras.Model)
    assert all(type(layer).__module__.startswith("tf_keras.") or "lrpet_tf" in type(layer).__module__ for layer in copy.layers)
    assert nets.distance(model, copy, data) < 1e-5
    assert copy.count_params() == model.count_params()
    keras.tree.assert_same_structure(model.predict(data, verbose=0), copy.predict(data, verbose=0))


def test_half_precision_stays():
    model, data = models.mixed_precision()
    copy = interop.to_tf_keras(model)
    assert copy.get_layer("stem").compute_dtype == "bfloat16"
    assert nets.distance(model, copy, data) < 0.05


@settings(max_examples=15, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_random_graphs_agree_or_name_what_cannot_be_carried(data):
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)
    model, inputs, expected = draw(Builder(lambda strategy: data.draw(strategy)))
    try:
        copy = interop.to_tf_keras(model)
    except errors.UnsupportedLayersError as error:
        assert error.paths
        return
    received = [np.asarray(each) for each in keras.tree.flatten(copy(inputs))]
    for one, other in zip(expected, received, strict=True):
        np.testing.assert_allclose(other, one, atol=1e-4 * max(1, np.abs(one).max()))


def test_it_trains_as_the_keras_model_does():
    model, data = nets.mlp()
    model.layers[1].rate = 0.0  # the same steps only without chance
    copy = interop.to_tf_keras(model)
    copy.compile("sgd", "sparse_categorical_crossentropy")
    model.compile("sgd", "sparse_categorical_crossentropy", jit_compile=False)
    for each in (model, copy):
        each.fit(data, np.arange(4), batch_size=4, epochs=3, verbose=0)
    assert nets.distance(model, copy, data) < 1e-5


def test_regularizers_are_carried_over():
    model, _ = nets.conv1d()
    copy = interop.to_tf_keras(model)
    np.testing.assert_allclose(float(sum(copy.losses)), float(sum(model.losses)), rtol=1e-5)
    assert float(sum(copy.losses)) > 0


def test_all_layers_that_cannot_be_carried_are_named():
    class Mine(layers.Layer):
        def call(self, inputs):
            return inputs

    inner = keras.Sequential([keras.Input((12, 12, 3)), Mine(name="mine")], name="inner")
    inputs = keras.Input((12, 12, 3))
    x = layers.RMSNormalization(name="rms")(inner(inputs))
    model = keras.Model(inputs, layers.Conv2D(4, 3, name="conv", kernel_regularizer=lambda w: 0.0)(x), name="net")
    with pytest.raises(errors.UnsupportedLayersError) as caught:
        interop.to_tf_keras(model)
    assert caught.value.paths == ("inner/mine", "rms", "conv")
    for part in ("3 layers of model 'net'", "'inner/mine' (Mine)", "class of its own", "tf_keras has no RMSNormalization"):
        assert part in str(caught.value)
    own, _ = models.own_layers()
    with pytest.raises(errors.UnsupportedLayersError, match=r"(?s)4 layers.*lrpet_tf.factorize"):
        interop.to_tf_keras(own)


def test_a_copy_that_differs_is_an_error(monkeypatch):
    from lrpet_tf.interop import translation

    model, _ = nets.conv1d()
    monkeypatch.setattr(translation, "_OTHER_FUNCTIONS", set())  # takes the hard_sigmoid of tf_keras for that of Keras 3
    with pytest.raises(errors.LowRankError, match="gives another output 'dense.*differs by"):
        interop.to_tf_keras(model)


def test_the_process_of_the_user_is_not_changed():
    code = """
import os, keras
before = dict(os.environ)
import lrpet_tf as lrpet
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
lrpet.interop.quantize_aware(model)
import tensorflow as tf
changed = {key for key in set(os.environ) | set(before) if os.environ.get(key) != before.get(key)}
print({key for key in changed if "KERAS" in key}, tf.keras.Model is keras.Model)
"""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert result.stdout.split("\n")[-2] == "set() True"


@pytest.mark.parametrize("module", ["tf_keras", "tensorflow_model_optimization"])
def test_a_missing_package_names_the_extra(monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(errors.MissingExtraError, match=r"'lrpet-tf\[qat\]'"):
        interop.quantize_aware(nets.mlp()[0])


def test_another_backend(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(errors.LowRankError, match="backend 'jax'"):
        interop.to_tf_keras(nets.mlp()[0])
