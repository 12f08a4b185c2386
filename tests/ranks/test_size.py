"""Files of models that call one layer several times."""

import keras
import numpy as np
import pytest
from keras import layers

import lrpet_tf as lrpet
from lrpet_tf import ranks


@pytest.mark.tensorflow
def test_each_call_of_a_layer_has_operators_of_its_own_in_the_file():
    from lrpet_tf.litert import convert

    inputs = keras.Input((64,))
    again, x = layers.Dense(64, name="again"), layers.Dense(64, name="first")(inputs)
    for _ in range(6):
        x = layers.ReLU()(again(x))
    model = keras.Model(inputs, x)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if len(weight.shape) == 1:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    plan = lrpet.make_plan(model, ranks.SizeBudget("15 kB", quantize="float16"), exclude="first")
    lrpet.Projector(model, plan).project()
    size = len(convert(lrpet.factorize(model, plan), quantize="float16").content)
    assert "again" in plan
    assert 14_000 < size <= 15_050
