import keras
import numpy as np
import pytest
from keras import layers

import lrpet_tf as lrpet
from lrpet_tf import errors, interop
from tests import models
from tests.interop import nets

pytestmark = pytest.mark.tensorflow


def _disturbed(copy):
    rng = np.random.default_rng(1)
    copy.set_weights([each + 0.1 * rng.random(each.shape).astype(each.dtype) for each in copy.get_weights()])
    return copy


@pytest.mark.parametrize("make", [models.nested, models.shared_layers, models.dicts, nets.sequences, nets.resnet20_factorized])
def test_what_is_trained_there_goes_on_here(make):
    model, data = make()
    before = model.get_weights()
    changed = _disturbed(interop.to_tf_keras(model))
    back = interop.from_tf_keras(changed, model)
    assert nets.distance(changed, back, data) < 1e-5
    assert nets.distance(model, back, data) > 1e-3
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    interop.copy_weights(changed, model)
    assert nets.distance(changed, model, data) < 1e-5


def test_a_trained_quantized_model_gives_its_weights_before_rounding():
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.SeparableConv2D(4, 3, name="separable"), layers.BatchNormalization(name="bn"),
         layers.ReLU(), layers.Flatten(), layers.Dense(3, activation="relu6", name="head")]
    )  # fmt: skip
    data, labels = nets.images(8, 8, 3, count=32), np.arange(32) % 3
    aware = interop.quantize_aware(model, representative_data=data)
    nets.compiled(aware, 1e-3).fit(data, labels, epochs=2, verbose=0)
    back = interop.from_tf_keras(aware, model)
    assert 1e-5 < nets.distance(aware, back, data) < 0.1
    assert all(np.abs(one - other).max() > 1e-5 for one, other in zip(model.get_weights(), back.get_weights(), strict=True))
    again = interop.quantize_aware(back, representative_data=data)
    assert nets.distance(aware, again, data) < 0.1


def test_the_library_goes_on_with_what_comes_back():
    small = nets.factorized()
    small.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    back = interop.from_tf_keras(_disturbed(interop.to_tf_keras(small)), small)
    assert back.compiled
    assert lrpet.count_macs(back) == lrpet.count_macs(small)
    assert type(back) is type(small)


def test_another_model_is_refused_and_nothing_is_changed():
    model, _ = models.residual()
    before = model.get_weights()
    with pytest.raises(errors.LowRankError, match="no counterpart of 'residual': for layer 'stem'.*it has no layer 'stem'"):
        interop.copy_weights(interop.to_tf_keras(nets.mlp()[0]), model)
    inputs = keras.Input((12, 12, 3))
    x = layers.BatchNormalization(name="stem_bn")(layers.Conv2D(16, 3, use_bias=False, name="stem")(inputs))
    x = layers.Conv2D(16, 5, name="body")(x)
    with pytest.raises(errors.LowRankError, match="for layer 'body'.*it has weights of shapes"):
        interop.copy_weights(_disturbed(interop.to_tf_keras(keras.Model(inputs, x))), model)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
