import keras
import numpy as np
import pytest
from keras import layers

import lrpet_tf as lrpet
from lrpet_tf import ranks
from tests.ranks import nets


@pytest.mark.tensorflow
@pytest.mark.parametrize(("quantize", "limit"), [(None, "50 kB"), ("float16", "30 kB"), ("int8", "24 kB")])
def test_the_size_is_that_of_the_file(quantize, limit):
    from lrpet_tf.litert import convert

    model = nets.net()
    rng = np.random.default_rng(0)
    for weight in model.weights:  # as after training: no two biases alike
        if len(weight.shape) == 1:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    plan = lrpet.make_plan(model, ranks.SizeBudget(limit, quantize=quantize))
    size = len(convert(lrpet.factorize(nets.projected(model, plan), plan), quantize=quantize).content)
    allowed = float(limit.split()[0]) * 1000
    assert 0.97 * allowed < size <= 1.002 * allowed


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
