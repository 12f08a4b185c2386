import keras
import numpy as np
import pytest
from keras import layers

import lrpet_tf as lrpet
from lrpet_tf import ranks
from tests.ranks import nets


@pytest.mark.tensorflow
@pytest.mark.parametrize(("quantize", "limit"), [(None, "50 kB"), ("float16", "30 kB"), ("int8", "24 kB")])
def test_the_size_is_that_of_the_file(tmp_path, quantize, limit):
    model, path = nets.net(), tmp_path / "net.tflite"
    rng = np.random.default_rng(0)
    for weight in model.weights:  # as after training: no two biases alike
        if len(weight.shape) == 1:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    plan = lrpet.make_plan(model, ranks.SizeBudget(limit, quantize=quantize))
    small = lrpet.factorize(nets.projected(model, plan), plan)
    data = rng.standard_normal((4, *model.inputs[0].shape[1:])).astype("float32")
    options = {"representative_data": data, "tolerance": 1.0, "min_sqnr_db": -100.0}
    size = lrpet.export_tflite(small, path, quantize=quantize, **options).size_bytes
    assert size == path.stat().st_size
    allowed = float(limit.split()[0]) * 1000
    assert 0.97 * allowed < size <= 1.002 * allowed


@pytest.mark.tensorflow
def test_each_call_of_a_layer_has_operators_of_its_own_in_the_file(tmp_path):
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
    size = lrpet.export_tflite(lrpet.factorize(model, plan), tmp_path / "net.tflite", quantize="float16").size_bytes
    assert "again" in plan
    assert 14_000 < size <= 15_050
